"""A service manager for tests: the socket that a service tells of itself, and systemd's watchdog.

with hearing() as heard:
    start(environment=heard.environment(watchdog_s=1))
    heard.wait("READY=1")
"""

from __future__ import annotations

import queue
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60.0


class Heard:
    """What a service told, in order. `wait` may be called from any thread."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self._words: queue.Queue[str] = queue.Queue()
        self.all: list[tuple[float, str]] = []

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """Returns the variables that the service is started with."""
        found = {"NOTIFY_SOCKET": str(self.address)}
        if watchdog_s is not None:
            found["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
        return found

    def note(self, text: str) -> None:
        for line in text.splitlines():
            self.all.append((time.monotonic(), line))
            self._words.put(line)

    def wait(self, word: str, seconds: float = PATIENCE_S) -> bool:
        """Waits for a word; returns whether it came in time. Earlier words are let go."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                if self._words.get(timeout=left) == word:
                    return True
            except queue.Empty:
                break
        return False


@contextmanager
def hearing() -> Iterator[Heard]:
    """Hears what services tell during the block."""
    with tempfile.TemporaryDirectory() as folder:  # a path of a socket has 108 bytes at most
        heard = Heard(Path(folder) / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(heard.address))
            ear.settimeout(0.05)
            is_over = threading.Event()

            def hear() -> None:
                while not is_over.is_set():
                    try:
                        heard.note(ear.recv(4096).decode())
                    except TimeoutError:
                        continue

            thread = threading.Thread(target=hear, name="test-manager", daemon=True)
            thread.start()
            try:
                yield heard
            finally:
                is_over.set()
                thread.join()
