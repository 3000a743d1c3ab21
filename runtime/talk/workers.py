"""The threads of one stream, and how they are ended."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Mapping

from omnijet.runtime.backends.device_call import in_device_call
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.shortage import out_of_memory


class _Worker(threading.Thread):
    """A daemon thread: a stream that nobody reads must not delay the end of the process.

    It works in a copy of its maker's context variables.
    """

    def __init__(self, name: str, work: Callable[[], None], cancellation: Cancellation) -> None:
        super().__init__(
            target=contextvars.copy_context().run,
            args=(_governed, work, cancellation),
            name=f"omnijet-{name}",
            daemon=True,
        )


def _governed(work: Callable[[], None], cancellation: Cancellation) -> None:
    with cancellation.governing():
        work()


class Workers:
    """The threads of one stream: they run side by side and are ended together.

    Args:
        cancellation: the switch that all of them watch.
        works: what each does, by name.
    """

    def __init__(self, cancellation: Cancellation, works: Mapping[str, Callable[[], None]]) -> None:
        self._cancellation, self._process = cancellation, os.getpid()
        self._threads = [_Worker(name, work, cancellation) for name, work in works.items()]

    def start(self) -> None:
        """Starts all of them. Raises `OmnijetError` if the system refuses a thread."""
        for thread in self._threads:
            try:
                thread.start()
            except RuntimeError as error:
                what = "the system refused a thread: memory or its limit of threads ran out"
                raise out_of_memory(error, what) from error

    @property
    def have_ended(self) -> bool:
        """Whether no thread runs any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Cancels the workers and waits until they have ended; any thread may call it repeatedly.

        A graph call of ONNX Runtime ends within one node, one of an engine comes to its end, and
        so does the loading of a graph.

        Worker threads, and threads inside a device call, do not wait. The garbage collector may run
        this inside such a thread, while the workers to wait for need the buffers or the device that
        it holds. In a child of the process there are no workers, and what they hold is never given
        back.
        """
        if os.getpid() != self._process:
            return
        self._cancellation.cancel()
        if isinstance(threading.current_thread(), _Worker) or in_device_call():
            return
        for thread in self._threads:
            if thread.ident is not None:  # the system may have refused to start it
                thread.join()
