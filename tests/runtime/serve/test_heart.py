"""A server tells its service manager that it lives, from the loop that answers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from omnijet.runtime.serve.heart import Heart
from omnijet.runtime.serve.service_manager import ALIVE, READY, STOPPING, ServiceManager
from tests.layering import ROOT
from tests.service_manager import Heard, hearing

WATCHDOG_S = 1.0
PATIENCE_S = 60.0


def test_the_manager_is_named_by_the_environment() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "HOME": "/"}
    assert ServiceManager.of(environment) == ServiceManager("/run/x", 3.0)
    assert environment == {"HOME": "/"}  # a child is not the service
    assert ServiceManager.of({}) == ServiceManager()
    assert ServiceManager.of({"WATCHDOG_USEC": "3000000"}) == ServiceManager()
    for odd in ({"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"},
                {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}):  # fmt: skip
        assert ServiceManager.of({"NOTIFY_SOCKET": "@x", **odd}) == ServiceManager("@x", None)
    assert ServiceManager.of({"NOTIFY_SOCKET": "vsock:2:1"}).address == ""


def test_words_reach_it_and_a_deaf_one_is_left() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0omnijet-test-{os.getpid()}")
        ServiceManager(f"@omnijet-test-{os.getpid()}").tell(READY, "STATUS=answers")
        assert ear.recv(100) == b"READY=1\nSTATUS=answers"
    ServiceManager("/nowhere/at/all").tell(READY)
    ServiceManager().tell(READY)


def beats(heart: Heart, seconds: float) -> None:
    async def beat() -> None:
        task = asyncio.create_task(heart.beat())
        await asyncio.sleep(seconds)
        task.cancel()

    asyncio.run(beat())


def test_nothing_is_ready_before_the_graphs_are_loaded() -> None:
    with hearing() as heard:
        loaded = threading.Event()
        threading.Timer(0.3, loaded.set).start()
        began = time.monotonic()
        beats(Heart(ServiceManager(str(heard.address), 0.2), loaded.is_set, lambda: True), 0.8)
        assert heard.wait(READY, 1) and heard.wait(ALIVE, 1)
    first = next(at for at, word in heard.all if word in (READY, ALIVE))
    assert first - began >= 0.3
    assert sum(word == ALIVE for _, word in heard.all) >= 4


def test_a_server_that_is_not_well_falls_silent() -> None:
    with hearing() as heard:
        well = threading.Event()
        well.set()
        threading.Timer(0.4, well.clear).start()
        ended = time.monotonic() + 1.2
        beats(Heart(ServiceManager(str(heard.address), 0.2), lambda: True, well.is_set), 1.2)
        time.sleep(0.1)
    last = max(at for at, word in heard.all if word == ALIVE)
    assert last < ended - 0.5


@contextmanager
def service(heard: Heard) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts the server as a service is started; yields it when it is ready, with its URL."""
    environment = {**os.environ, **heard.environment(WATCHDOG_S), "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.serve.blockable"], cwd=ROOT, env=environment,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port and heard.wait(READY)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def test_a_blocked_loop_is_restarted() -> None:
    """The watchdog of systemd: who is silent for so long gets SIGABRT, and is started again."""
    with hearing() as heard:
        with service(heard) as (process, url):
            for _ in range(4):  # it lives: no gap reaches the limit
                assert heard.wait(ALIVE, WATCHDOG_S)
            assert httpx.get(f"{url}/health").text == "ok"
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{url}/block", timeout=0.2)
            while heard.wait(ALIVE, 0.01):
                pass
            assert not heard.wait(ALIVE, WATCHDOG_S)  # though another of its threads works
            process.send_signal(signal.SIGABRT)
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == -signal.SIGABRT
            assert "in block" in said  # the journal says where it hung
        with service(heard) as (process, url):
            assert httpx.get(f"{url}/health").text == "ok"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0


def test_a_served_bundle_is_ready_when_its_graphs_are(nano: tuple[Path, Path]) -> None:
    words = [
        sys.executable,
        "-m",
        "omnijet",
        "serve",
        str(nano[1]),
        "--port",
        "0",
        "--threads",
        "1",
    ]
    with hearing() as heard:
        environment = {**os.environ, **heard.environment(20)}
        with subprocess.Popen(
            words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert heard.wait(READY, 2 * PATIENCE_S)
                told = [word for _, word in heard.all]
                assert told[:2] == ["STATUS=loads the graphs", READY]
                assert heard.wait(ALIVE)
                (status,) = [word for word in told if word.startswith("STATUS=answers")]
                url = status.removeprefix("STATUS=answers at ")
                assert httpx.get(f"{url}/ready").status_code == 200
                process.send_signal(signal.SIGTERM)
                assert heard.wait(STOPPING)
                process.communicate(timeout=PATIENCE_S)
                assert process.returncode == 0
            finally:
                process.kill()
