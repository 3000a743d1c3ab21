"""A session of ONNX Runtime that can be closed while others still refer to it.

A binding of onnxruntime keeps its session alive, and a user may keep a binding for long. So both
are held here in one place each, where `close` finds them.
"""

from __future__ import annotations

from typing import Any

from omnijet.runtime.backends.opened import Opened, backend_closed
from omnijet.runtime.errors import OmnijetError


class OrtBinding:
    """Inputs and outputs that are bound for one session.

    Args:
        made: onnxruntime's own.
        name: the name of the graph, for messages.
    """

    def __init__(self, made: Any, name: str) -> None:
        self._open: Any = made
        self._name = name

    @property
    def made(self) -> Any:
        """Onnxruntime's binding. Raises `OmnijetError` if the backend was closed."""
        made = self._open
        if made is None:
            raise backend_closed(self._name)
        return made

    def close(self) -> None:
        """Lets go of onnxruntime's binding."""
        self._open = None


class OrtSession:
    """The session of one graph, shared by all that is bound to it.

    Args:
        session: onnxruntime's own.
        name: the name of the graph, for messages.
    """

    def __init__(self, session: Any, name: str) -> None:
        self._open: Any = session
        self._name = name
        self._bindings = Opened()

    def require_open(self) -> Any:
        """Returns onnxruntime's session. Raises `OmnijetError` if the backend was closed."""
        session = self._open
        if session is None:
            raise backend_closed(self._name)
        return session

    def binding(self) -> OrtBinding:
        """Returns a new binding, to which inputs and outputs are bound."""
        made = self.require_open().io_binding()
        return self._bindings.add(OrtBinding(made, self._name), self._name)

    def run(self, binding: OrtBinding) -> None:
        """Runs the graph.

        Raises:
            OmnijetError: ONNX Runtime fails, in its own words, or the backend was closed.
        """
        session, made = self.require_open(), binding.made
        try:
            session.run_with_iobinding(made)
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise run_failed(self._name, error) from error

    def close(self) -> None:
        """Lets go of onnxruntime's session, whose memory is freed when no run uses it any more."""
        self._open = None
        self._bindings.close()


def run_failed(name: str, error: Exception) -> OmnijetError:
    """The error of a run that failed in ONNX Runtime."""
    return OmnijetError(
        f"graph {name} failed",
        got=str(error).strip().splitlines()[0][:300],
        fix="if memory ran out: use smaller pictures, shorter clips, a shorter prompt",
    )
