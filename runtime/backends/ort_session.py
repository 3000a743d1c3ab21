"""A session of ONNX Runtime that can be closed while others still refer to it."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.backends.opened import backend_closed
from omnijet.runtime.errors import OmnijetError


class OrtSession:
    """The session of one graph, shared by all that is bound to it.

    Args:
        session: onnxruntime's own.
        name: the name of the graph, for messages.
    """

    def __init__(self, session: Any, name: str) -> None:
        self._open: Any = session
        self._name = name

    def require_open(self) -> Any:
        """Returns onnxruntime's session. Raises `OmnijetError` if the backend was closed."""
        session = self._open
        if session is None:
            raise backend_closed(self._name)
        return session

    def binding(self) -> Any:
        """Returns a new binding, to which inputs and outputs are bound."""
        return self.require_open().io_binding()

    def run(self, binding: Any) -> None:
        """Raises `OmnijetError`, in ONNX Runtime's own words, if it fails."""
        session = self.require_open()
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise run_failed(self._name, error) from error

    def close(self) -> None:
        """Lets go of onnxruntime's session, whose memory is freed when no run uses it."""
        self._open = None


def run_failed(name: str, error: Exception) -> OmnijetError:
    """The error of a run that failed in ONNX Runtime."""
    return OmnijetError(
        f"graph {name} failed",
        got=str(error).strip().splitlines()[0][:300],
        fix="if memory ran out: use smaller pictures, shorter clips, a shorter prompt",
    )
