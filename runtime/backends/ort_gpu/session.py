"""A session on a device: one run at a time, and which runs are replayed."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from threading import Lock
from typing import Any

import onnxruntime

from omnijet.runtime.backends.ort_cpu import run_failed

_log = logging.getLogger(__name__)

MOST_CAPTURED = 64
"""Of one session: a captured run is let go of with its session only."""
GRAPH_ID, NOT_CAPTURED = "gpu_graph_id", "-1"


class DeviceSession:
    """Args:
        captures: its provider can capture a run as a CUDA graph, and replay it.
        name: of its graph.

    Attributes:
        lock: held while a device value that a run reads is written, and while it runs. A session
            that captures takes one run at a time.
    """

    def __init__(self, session: Any, captures: bool, name: str) -> None:
        self._session, self._name, self._captures = session, name, captures
        self.lock = Lock()
        # ONNX Runtime keeps captured runs, and what it needs for a run, by thread: those of a
        # stream are new every time. This one ends when nobody holds the session any longer
        self._thread = ThreadPoolExecutor(1, f"omnijet-{name}") if captures else None
        self._ids = count(1)
        self._plainly = _options(NOT_CAPTURED) if captures else None

    def binding(self) -> Any:
        return self._session.io_binding()

    def new_capture(self) -> Any:
        """Options of a run that is captured the first time and replayed from then on, with the
        same binding always; None: there will be none."""
        if not self._captures:
            return None
        if (number := next(self._ids)) > MOST_CAPTURED:
            if number == MOST_CAPTURED + 1:
                _log.warning("%s: %s runs are captured, no more will be", self._name, MOST_CAPTURED)
            return None
        return _options(str(number))

    def run(self, binding: Any, capture: Any = None) -> None:
        """Args:
            capture: of `new_capture`.

        Raises:
            OmnijetError: ONNX Runtime's own words.
        """
        if capture is not None and self._captures:
            try:
                self._run(binding, capture)
                return
            except Exception as error:
                _log.warning("%s runs uncaptured: %s", self._name, error)
                self._captures = False
        try:
            self._run(binding, self._plainly)
        except Exception as error:  # onnxruntime's own classes share no narrower base
            raise run_failed(self._name, error) from error

    def _run(self, binding: Any, options: Any) -> None:
        run = self._session.run_with_iobinding
        if self._thread is None:
            run(binding, options)
            return
        future = self._thread.submit(run, binding, options)
        try:
            future.result()
        finally:  # an interrupt ends the wait, not the run
            wait([future])


def _options(number: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, number)
    return options
