"""Runs an application under uvicorn until a signal ends it, and lets replies end before."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.heart import Heart
from omnijet.runtime.serve.http_protocol import bounded_protocol
from omnijet.runtime.serve.taking import bounded_socket

HEAD_BYTES = 64 << 10
KEEP_ALIVE_S = 75
TICK_S = 0.02
LAST_S = 1.0  # for clients to take the last bytes
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server(uvicorn.Server):
    """One server in this process. It takes no signals by itself: see `heeding`.

    `stop` may be called from any thread, and from a handler of signals; twice, it waits for
    nobody.
    """

    def __init__(self, config: ServeConfig, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded_protocol(config),
                ws=bounded_socket(config),
                ws_max_size=config.body_bytes,
                ws_per_message_deflate=False,  # sound does not shrink, and bombs would
                lifespan="on",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        self._drain_s = config.drain_s
        self._ending: Callable[[float], Any] | None = None
        self._hurries = False
        self._heart: Heart | None = None
        self._beating: asyncio.Task[None] | None = None
        self.stopped_by: int | None = None

    def watch(self, heart: Heart) -> None:
        """Has a heart beat on the loop that answers, from the start to the end of the server."""
        self._heart = heart

    def stop(self, number: int = 0) -> None:
        """Ends the server: no new request is taken, and the replies that run may end.

        Args:
            number: of the signal that asks for it.
        """
        if self.should_exit:
            self._hurries = True
        else:
            self.stopped_by = number or None
            self.should_exit = True

    def until_stopped(self, listener: socket.socket, end: Callable[[float], Any]) -> None:
        """Serves until `stop`.

        Args:
            listener: where connections wait; it is closed.
            end: called in a thread when the server stops, with the seconds that replies may
                take: it must end all of them by then.
        """
        self._ending = end
        asyncio.run(self.serve([listener]))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to whoever called: uvicorn's handlers would replace ours."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        if self._heart is not None:  # the end of the loop cancels it: also a drain is watched
            self._beating = asyncio.create_task(self._heart.beat())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets replies end, and ends those that do not. Meanwhile new ones are refused."""
        ending = threading.Thread(target=self._end, name="omnijet-drain", daemon=True)
        ending.start()
        while ending.is_alive() and not self._hurries:
            await asyncio.sleep(TICK_S)
        closing = asyncio.ensure_future(super().shutdown(sockets))
        # a client that reads nothing would be waited for without an end
        await asyncio.wait({closing}, timeout=0 if self._hurries else LAST_S)
        self._hang_up()
        await asyncio.wait({closing}, timeout=LAST_S)
        self._cancel()
        await asyncio.wait({closing}, timeout=LAST_S)
        self.force_exit = not closing.done()
        await closing
        if self.force_exit:
            await self.lifespan.shutdown()

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _cancel(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()

    def _end(self) -> None:
        if self._ending is not None:
            self._ending(self._drain_s)


@contextmanager
def heeding(stop: Callable[[int], None]) -> Iterator[None]:
    """Has signals call `stop` during the block; ignored ones stay so.

    The command line ends its process soon after a signal, whatever it does (see
    `omnijet.runtime.interrupt`); a server may take longer, so that watch learns nothing meanwhile.
    Outside of the main thread nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop(number)

    watch = signal.set_wakeup_fd(-1)
    before = {
        number: signal.signal(number, handle)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(watch)
