"""A session on a device: one run at a time, and the choice of the runs that are replayed."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from threading import Lock
from typing import Any

import onnxruntime

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.ort_gpu.gate import GATE
from omnijet.runtime.backends.ort_session import (
    GRAPH_ID,
    OrtBinding,
    OrtSession,
    abortable,
    raise_if_cancelled,
    run_failed,
    uncaptured,
)

_log = logging.getLogger(__name__)

MOST_CAPTURED = 64
"""The most runs that one session captures; they are freed only with the session."""


class DeviceSession(OrtSession):
    """A session that may capture its runs.

    Args:
        session: onnxruntime's own.
        captures: whether its provider can capture a run as a CUDA graph, and replay it.
        name: the name of the graph.

    Attributes:
        lock: held while a device value that a run reads is written, and while the run lasts. A
            session that captures takes one run at a time.
    """

    def __init__(self, session: Any, captures: bool, name: str) -> None:
        super().__init__(session, name)
        self._captures = captures
        self.lock = Lock()
        # ONNX Runtime keeps captured runs, and what it needs for a run, by thread; a stream has
        # new threads every time. This thread ends with `close`, or with the session's last user.
        self._thread = ThreadPoolExecutor(1, f"omnijet-{name}") if captures else None
        self._ids = count(1)
        self._uncaptured = uncaptured() if captures else None

    def new_capture(self) -> Any:
        """Returns options of a run that is captured the first time and replayed from then on,
        always with the same binding; None if the run cannot be captured.
        """
        if not self._captures:
            return None
        if (number := next(self._ids)) > MOST_CAPTURED:
            if number == MOST_CAPTURED + 1:
                _log.warning("%s: %s runs are captured, no more will be", self._name, MOST_CAPTURED)
            return None
        return _options(str(number))

    def run(self, binding: OrtBinding, capture: Any = None) -> None:
        """Runs the graph; the caller holds `lock`.

        Cancelling what the thread works under ends the run, unless it is captured: such a run
        takes milliseconds, and one that is ended in the middle would spoil the capture.

        Args:
            capture: options from `new_capture`.

        Raises:
            OmnijetError: ONNX Runtime fails, in its own words, or the backend was closed.
            Cancelled: or what the thread's switch raises.
        """
        session, made = self.require_open(), binding.made
        if capture is not None and self._captures:
            try:
                self._run(session, made, capture)
                return
            except Exception as error:
                _log.warning("%s runs uncaptured: %s", self._name, error)
                self._captures = False
        try:
            self._run(session, made, abortable() or self._uncaptured)
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise_if_cancelled()
            raise run_failed(self._name, error) from error

    def close(self) -> None:
        """Waits for the run that has begun, ends the thread, and lets go of the session."""
        with device_call(), self.lock:
            if self._thread is not None:
                self._thread.shutdown()
            with GATE.shared():  # freeing the device's memory would spoil another capture
                super().close()

    def _run(self, session: Any, made: Any, options: Any) -> None:
        if self._thread is None:
            session.run_with_iobinding(made, options)
            return
        future = self._thread.submit(session.run_with_iobinding, made, options)
        try:
            future.result()
        finally:  # an interrupt ends the wait, not the run
            wait([future])


def _options(number: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, number)
    return options
