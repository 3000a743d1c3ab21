"""A session of ONNX Runtime that can be closed while others still refer to it.

A binding of onnxruntime keeps its session alive, and a user may keep a binding for long. So both
are held here in one place each, where `close` finds them.
"""

from __future__ import annotations

import os
from typing import Any

import onnxruntime

from omnijet.runtime.backends.opened import Opened, backend_closed
from omnijet.runtime.cancel import here
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.shortage import out_of_memory, ran_out

GRAPH_ID, NOT_CAPTURED = "gpu_graph_id", "-1"
FATAL = 4  # what fails is raised, and a run that was told to end is no error to report
LOG_VARIABLE = "OMNIJET_ONNXRUNTIME_LOG"
"""The variable that lets lines of ONNX Runtime pass to stderr: 0 (all) to 4 (none but fatal)."""


def severity() -> int:
    """Returns from which severity on ONNX Runtime writes lines of its own to stderr."""
    asked = os.environ.get(LOG_VARIABLE, "")
    return int(asked) if asked in ("0", "1", "2", "3") else FATAL


onnxruntime.set_default_logger_severity(severity())


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
        """Runs the graph. Cancelling what the thread works under ends the run within one node.

        Raises:
            OmnijetError: ONNX Runtime fails, in its own words, or the backend was closed.
            Cancelled: or what the thread's switch raises.
        """
        session, made = self.require_open(), binding.made
        try:
            session.run_with_iobinding(made, abortable())
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise_if_cancelled()
            raise run_failed(self._name, error) from error

    def close(self) -> None:
        """Lets go of onnxruntime's session, whose memory is freed when no run uses it any more."""
        self._open = None
        self._bindings.close()


def abortable() -> Any:
    """Returns the options with which this thread's switch ends a run; None: it has none."""
    cancellation = here()
    return None if cancellation is None else cancellation.flag(uncaptured)


def raise_if_cancelled() -> None:
    """Raises what the thread's switch raises, if a run was ended by it."""
    cancellation = here()
    if cancellation is not None:
        cancellation.check()


def uncaptured() -> Any:
    """Returns options of a run that is not captured as a CUDA graph.

    Without an entry for that, onnxruntime 1.32 catches an error in each run, which takes 33 µs.
    """
    options = onnxruntime.RunOptions()
    options.log_severity_level = severity()
    options.add_run_config_entry(GRAPH_ID, NOT_CAPTURED)
    return options


def run_failed(name: str, error: Exception) -> OmnijetError:
    """The error of a run that failed in ONNX Runtime."""
    if ran_out(error):
        return out_of_memory(error, f"memory ran out in graph {name}")
    return OmnijetError(
        f"graph {name} failed",
        got=str(error).strip().splitlines()[0][:300],
        fix=f"look for damaged files with `omnijet check BUNDLE --deep`; {LOG_VARIABLE}=0 makes "
        "ONNX Runtime write what it does to stderr",
    )
