"""Whether the graphs of the model are loaded: what `/ready` says."""

from __future__ import annotations

import threading
from collections.abc import Callable

from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.omni import Omni


class Loading:
    """Loads the graphs of a model in a thread. Any thread may look at it.

    Attributes:
        error: why it failed; None if it did not.
    """

    def __init__(self, omni: Omni) -> None:
        self._omni = omni
        self._cancellation = Cancellation()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._failed: Callable[[], None] = lambda: None
        self.error: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Whether all graphs are loaded, and the server takes requests."""
        return self._ended.is_set() and self.error is None and not self._is_stopped

    @property
    def is_stopped(self) -> bool:
        """Whether the server ends."""
        return self._is_stopped

    @property
    def has_failed(self) -> bool:
        """Whether a graph cannot be loaded."""
        return self.error is not None

    def when_failed(self, call: Callable[[], None]) -> None:
        """Has `call` called, in the thread that loads, if a graph cannot be loaded."""
        self._failed = call

    def start(self) -> None:
        """Begins; harmless if repeated."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._load, name="omnijet-load", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Says that the server ends. What is loaded ends after its graph; nobody waits for it."""
        self._is_stopped = True
        self._cancellation.cancel()

    def _load(self) -> None:
        try:
            self._omni.model.load(check=self._cancellation.check)
        except Cancelled:
            return
        except BaseException as error:
            self.error = error
            self._ended.set()
            self._failed()
        else:
            self._ended.set()
