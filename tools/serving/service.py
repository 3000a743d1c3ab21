"""A server in a process of its own, and what it holds: memory, threads, files."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import httpx

from omnijet.runtime.child.start import start
from omnijet.runtime.leftovers import temporary_folder

MODEL = "omnijet"
THREADS = "1"  # of a graph: nano's are small, and more threads a reply only wait for each other
READY_S, END_S = 300.0, 60.0
ALIKE = 4  # readings, until a server is taken to rest
KEPT = (".ses",)
"""Files that onnxruntime keeps among the temporary ones after every run."""
_OPEN_SESSIONS = re.compile(r"^omnijet_sessions\{state=\"open\"\} ([0-9.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server holds at a moment.

    Attributes:
        resident: bytes in memory; 0 where the process is not known.
        threads: that the system counts.
        descriptors: what is open, by kind; each kind with a number.
        files: below its folder of temporary files.
        sessions: open ones, as `/metrics` counts them; kept caches of requests are bounded.
    """

    resident: int = 0
    threads: int = 0
    descriptors: dict[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    sessions: float = 0

    def beyond(self, start: Reading) -> list[str]:
        """Returns what is there and was not at the start, memory aside."""
        found = []
        if self.threads > start.threads:
            found.append(f"{self.threads - start.threads} threads")
        for kind, count in self.descriptors.items():
            if (more := count - start.descriptors.get(kind, 0)) > 0:
                found.append(f"{more} x {kind}")
        found += [f"file {name}" for name in self.files if name not in start.files]
        if self.sessions > start.sessions:
            found.append(f"{self.sessions - start.sessions:g} sessions")
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """A server that answers at a URL.

    Attributes:
        process: None: somebody else has started it, and its process is not known.
        folder: its temporary files and its log.
    """

    url: str
    process: Popen[Any] | None = None
    folder: Path | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    @property
    def socket_url(self) -> str:
        """Where realtime conversations are held."""
        return f"ws{self.url.removeprefix('http')}/v1/realtime?model={MODEL}"

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return "" if self.folder is None else _text(self.folder / "log")

    def wait_ready(self, seconds: float = READY_S) -> None:
        """Returns when the server says that it is ready.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log[-2000:]}")
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/ready", timeout=2.0).status_code == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"the server is not ready: {self.log[-2000:]}")

    def resident(self) -> int:
        """Returns the bytes in memory now; 0 where the process is not known."""
        if self.process is None:
            return 0
        pages = _text(Path(f"/proc/{self.process.pid}/statm")).split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0

    def peak(self, forget: bool = False) -> int:
        """Returns the most bytes in memory so far, from which on it may be measured anew."""
        if self.process is None:
            return 0
        place = Path(f"/proc/{self.process.pid}")
        found = re.search(r"^VmHWM:\s+(\d+)", _text(place / "status"), re.MULTILINE)
        if forget:
            with suppress(OSError):
                (place / "clear_refs").write_text("5")
        return int(found[1]) << 10 if found else 0

    def reading(self) -> Reading:
        """Returns what the server holds now."""
        found = Reading(sessions=_sessions(httpx.get(f"{self.url}/metrics", timeout=30).text))
        if self.process is None or self.folder is None:
            return found
        place = Path(f"/proc/{self.process.pid}")
        return replace(
            found,
            resident=self.resident(),
            threads=len(list((place / "task").iterdir())),
            descriptors=_descriptors(place / "fd"),
            files=temporary_files(self.folder / "tmp"),
        )

    def resting(self, seconds: float = 30.0) -> Reading:
        """Waits until several readings in a row are alike in all but memory; returns the last."""
        end, alike, last = time.monotonic() + seconds, 0, self.reading()
        while alike < ALIKE and time.monotonic() < end:
            time.sleep(0.3)
            found = self.reading()
            alike = alike + 1 if replace(found, resident=last.resident) == last else 0
            last = found
        return last

    def settled(self, start: Reading, seconds: float) -> tuple[Reading, list[str]]:
        """Waits until nothing is there beyond the start; returns what was there at the end."""
        end = time.monotonic() + seconds
        while True:
            found = self.reading()
            left = found.beyond(start)
            if not left or time.monotonic() > end:
                return found, left
            time.sleep(0.5)

    def stop(self) -> int:
        """Asks the server to end and returns its exit code; kills it if it does not end."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        with suppress(TimeoutExpired):
            return self.process.wait(END_S)
        return self.kill()

    def kill(self) -> int:
        """Kills the server; returns its exit code."""
        assert self.process is not None
        self.process.kill()
        return self.process.wait()


@contextmanager
def service(target: str, *options: str) -> Iterator[Service]:
    """Yields the server at a URL, or one that it starts for a bundle and ends."""
    if target.startswith(("http://", "https://")):
        found = Service(target.rstrip("/"))
        found.wait_ready()
        yield found
        return
    with temporary_folder("omnijet-serving-") as folder:
        found = started(target, folder, free_port(), *options)
        try:
            found.wait_ready()
            yield found
        finally:
            found.stop()


def started(bundle: str, folder: Path, port: int, *options: str) -> Service:
    """Starts a server, which ends with this process; it is not ready yet.

    Args:
        folder: for its log and its temporary files.
        options: of `omnijet serve`.
    """
    (folder / "tmp").mkdir(exist_ok=True)
    with open(folder / "log", "ab") as log:
        process = start(
            "omnijet.__main__", "serve", str(Path(bundle).absolute()),
            "--port", str(port), "--model", MODEL, "--threads", THREADS, *options,
            env={"TMPDIR": str(folder / "tmp")}, stdout=log, stderr=log,
        )  # fmt: skip
    return Service(f"http://127.0.0.1:{port}", process, folder)


def free_port() -> int:
    """Returns a port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def temporary_files(folder: Path) -> tuple[str, ...]:
    """Returns the names of all files and folders in a folder of temporary files."""
    if not folder.is_dir():
        return ()
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return tuple(sorted(name for name in names if not name.startswith(KEPT)))


@asynccontextmanager
async def watched_memory(
    server: Service, seconds: float = 1.0
) -> AsyncIterator[list[tuple[float, int]]]:
    """Collects (seconds since now, bytes in memory) during the block."""
    readings: list[tuple[float, int]] = []
    began = time.monotonic()

    async def watch() -> None:
        while True:
            readings.append((time.monotonic() - began, server.resident()))
            await asyncio.sleep(seconds)

    task = asyncio.create_task(watch())
    try:
        yield readings
    finally:
        task.cancel()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _descriptors(folder: Path) -> dict[str, int]:
    """Counts open descriptors by what they are; sockets and pipes without their numbers."""
    found: dict[str, int] = {}
    for entry in folder.iterdir():
        with suppress(OSError):
            kind = os.readlink(entry).partition(":[")[0]
            found[kind] = found.get(kind, 0) + 1
    return found


def _sessions(metrics: str) -> float:
    """Returns the number of open sessions in the metrics. Raises `ValueError` if there is none."""
    (count,) = _OPEN_SESSIONS.findall(metrics)
    return float(count)
