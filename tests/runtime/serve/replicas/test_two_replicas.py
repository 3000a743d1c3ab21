"""`omnijet serve --replicas 2` on a Ray of this machine, with real traffic.

All is one test: a Ray takes ten seconds to start, and the tests of a file may run in two processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from omnijet.runtime.media.audio import load_audio
from tests.command import heed_signals
from tests.layering import ROOT

LONG_S = 120.0
KEY = "a-key-of-the-tests"
MEDIA = ROOT / "tests" / "media"
START = "import sys; sys.path.insert(0, {root!r}); import omnijet.__main__ as m; sys.exit(m.main())"
EVIL = "import pathlib; pathlib.Path({marker!r}).write_text('imported')\n"
NAME = "x-omnijet-replica"


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    started: list[psutil.Process] = field(default_factory=list)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, timeout=LONG_S, headers={"Authorization": f"Bearer {KEY}"}
        )

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def until(is_so: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + LONG_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} never came:\n{log.read_text()[-4000:]}"
        time.sleep(0.05)


@contextmanager
def serving(bundle: Path, folder: Path) -> Iterator[Served]:
    """Runs the command in a folder whose modules nobody may import."""
    here = folder / "here"
    here.mkdir()
    for name in ("sitecustomize", "grpc", "aiohttp", "starlette", "uvicorn", "tokenizers"):
        (here / f"{name}.py").write_text(EVIL.format(marker=str(folder / "marker")))
    script, log = folder / "start.py", folder / "log"
    script.write_text(START.format(root=str(ROOT)))
    (here / "bundle").symlink_to(bundle)
    variables = {**os.environ, "OMNIJET_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)
    command = [
        sys.executable,
        script,
        "serve",
        "bundle",
        "--replicas",
        "2",
        "--port",
        "0",
        "--model",
        "nano",
    ]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=here, env=variables, stdout=said, stderr=said, preexec_fn=heed_signals
        )
    served = Served(process, log)
    try:
        until(lambda: "page at " in log.read_text() or process.poll() is not None, "it", log)
        assert process.poll() is None, log.read_text()
        served.url = log.read_text().split("page at ")[1].split("/,")[0]
        served.started = served.children()
        yield served
    finally:
        process.terminate()
        try:
            process.wait(LONG_S)
        finally:
            process.kill()


def question(**more: Any) -> dict[str, Any]:
    data = b64encode((MEDIA / "question.wav").read_bytes()).decode()
    sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {
        "model": "nano", "temperature": 0, "messages": [{"role": "user", "content": [sound]}],
        **more,
    }  # fmt: skip


SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "Chelsie", "format": "pcm16"}}


class Streamed(threading.Thread):
    """A request whose answer is streamed, and what became of it."""

    def __init__(self, served: Served) -> None:
        super().__init__(daemon=True)
        self.served, self.name_of, self.events = served, "", []
        self.start()

    def run(self) -> None:
        body = question(stream=True, **SPOKEN)
        with (
            self.served.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            self.name_of = answer.headers.get(NAME, "")  # none: it was lost before its answer
            for line in filter(None, answer.iter_lines()):
                self.events.append(line)

    @property
    def is_lost(self) -> bool:
        """Whether the replica has ended before the answer, and the client was told."""
        return '"code":"replica_lost"' in "".join(self.events[-1:]).replace(" ", "")

    @property
    def transcript(self) -> str:
        """What was said, if the answer is whole."""
        assert self.events[-1] == "data: [DONE]", self.events[-1]
        chunks = [json.loads(event.removeprefix("data: ")) for event in self.events[:-1]]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        return "".join((delta.get("audio") or {}).get("transcript") or "" for delta in deltas)


def name_of(client: httpx.Client, session: str | None = None) -> str:
    headers = {} if session is None else {"x-session-id": session}
    return str(client.get("/v1/models", headers=headers).headers[NAME])


def names(client: httpx.Client, count: int = 32) -> set[str]:
    return {name_of(client, f"person {number}") for number in range(count)}


def pid_of(metrics: str, name: str) -> int:
    for line in metrics.splitlines():
        if line.startswith("omnijet_replica_info{") and f'replica="{name}"' in line:
            return int(line.split('pid="')[1].split('"')[0])
    raise AssertionError(name)


class Talk:
    """A realtime conversation."""

    def __init__(self, served: Served) -> None:
        self._opened = connect(
            served.url.replace("http", "ws") + "/v1/realtime?model=nano",
            additional_headers={"Authorization": f"Bearer {KEY}"}, open_timeout=LONG_S,
        )  # fmt: skip
        self.socket = self._opened.__enter__()
        self.replica = str(self.socket.response.headers[NAME]) if self.socket.response else ""
        turns = {"audio": {"input": {"turn_detection": None}}, "output_modalities": ["text"]}
        self._send("session.update", session={"type": "realtime", **turns})

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)

    def asked(self, sound: str) -> str:
        """Returns the answer to a spoken question."""
        pcm = load_audio(MEDIA / sound, sample_rate_hz=24_000)
        data = b64encode((pcm * 32767).astype("<i2").tobytes()).decode()
        self._send("input_audio_buffer.append", audio=data)
        self._send("input_audio_buffer.commit")
        self._send("response.create")
        while (event := self.event())["type"] != "response.output_text.done":
            assert event["type"] != "error", event
        text = str(event["text"])
        while self.event()["type"] != "response.done":
            pass
        return text

    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.socket.recv(LONG_S))
        return event

    def _send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))


@contextmanager
def talks(served: Served, client: httpx.Client) -> Iterator[dict[str, Talk]]:
    """Yields a conversation with each replica, by its name."""
    with ExitStack() as stack:
        found: dict[str, Talk] = {}

        def is_with_both() -> bool:
            talk = stack.enter_context(Talk(served))
            found[talk.replica] = talk
            return found.keys() == names(client)

        until(is_with_both, "a conversation with both", served.log)
        yield found


def check_ports(served: Served) -> None:
    found = {
        one.laddr.ip
        for process in [psutil.Process(served.process.pid), *served.children()]
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert found, "no port was found"
    # IPv4 in IPv6 is written ::ffff:127.0.0.1
    assert all(ip_address(one.removeprefix("::ffff:")).is_loopback for one in found), found


def check_answers(served: Served, client: httpx.Client) -> None:
    by: set[str] = set()

    def both_have_answered() -> bool:
        answer = client.post("/v1/chat/completions", json=question())
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "four seven one"
        by.add(answer.headers[NAME])
        return len(by) == 2

    until(both_have_answered, "an answer of both", served.log)
    assert httpx.get(f"{served.url}/v1/models").status_code == 401
    until(lambda: served.log.read_text().count('"event":"turn"') >= 2, "the log", served.log)


def check_sessions(client: httpx.Client) -> None:
    before = {f"person {number}": name_of(client, f"person {number}") for number in range(32)}
    assert len(set(before.values())) == 2
    assert {session: name_of(client, session) for session in before} == before


def check_talks(found: dict[str, Talk]) -> None:
    """Each replica hears a number and what is asked about it, in turns."""
    for talk in found.values():
        assert talk.asked("question.wav") == "four seven one"
    for talk in found.values():
        assert talk.asked("follow_up.wav") == "one"


def check_lost_talk(found: dict[str, Talk], lost: str) -> None:
    """The client of a replica that has ended is told; all others talk on."""
    for name, talk in found.items():
        if name != lost:
            assert talk.asked("question.wav")
            continue
        assert talk.event()["error"]["code"] == "replica_lost"
        with pytest.raises(ConnectionClosed):
            talk.event()
        assert talk.socket.close_code == 1012


def check_metrics(served: Served, client: httpx.Client) -> None:
    text = client.get("/metrics").text
    for name in names(client):
        assert psutil.Process(pid_of(text, name)) in served.started
        (turns,) = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("omnijet_turns_total{")
            and f'replica="{name}"' in line and 'kind="chat"' in line
        ]  # fmt: skip
        assert turns >= 1  # both have answered
    assert "omnijet_replicas_wanted 2.0" in text
    assert httpx.get(f"{served.url}/metrics").status_code == 401


def check_loss(served: Served, client: httpx.Client) -> None:
    """Kills a replica in the middle of a stream, and waits until there are two again."""
    before = names(client)
    with talks(served, client) as found:
        check_talks(found)
        lost = lose_one(served, client, before)
        check_lost_talk(found, lost)
    (kept,) = before - {lost}
    until(lambda: len(names(client)) == 2, "another replica", served.log)
    after = names(client)
    assert kept in after and lost not in after
    check_answers(served, client)


def lose_one(served: Served, client: httpx.Client, before: set[str]) -> str:
    """Kills a replica that streams to several clients; returns its name."""
    streams = [Streamed(served) for _ in range(6)]
    until(lambda: {one.name_of for one in streams if one.events} == before, "both", served.log)
    victim = next(one for one in served.children() if "ServeReplica" in " ".join(one.cmdline()))
    victim.kill()
    until(lambda: any(one.is_lost and one.name_of for one in streams), "the word", served.log)
    (lost,) = {one.name_of for one in streams if one.is_lost} - {""}
    (kept,) = before - {lost}
    assert name_of(client) == kept  # at once
    for one in streams:
        one.join(LONG_S)
        assert one.is_lost or one.transcript == "four seven one"
        assert one.name_of in (lost, "") or not one.is_lost
    return lost


def check_drain(served: Served, client: httpx.Client) -> None:
    streams = [Streamed(served) for _ in range(2)]
    until(lambda: all(one.name_of for one in streams), "the streams", served.log)
    served.process.terminate()

    def is_refused() -> bool:
        answer = client.post("/v1/chat/completions", json=question())
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 503 and "retry-after" in answer.headers

    until(is_refused, "a refusal", served.log)
    for one in streams:
        one.join(LONG_S)
        assert one.transcript == "four seven one"
    assert served.process.wait(LONG_S) == 0
    assert not psutil.wait_procs(served.started, timeout=30)[1]


def test_two_replicas_answer_lose_one_get_another_and_end_well(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray.serve", reason="the extra [ray] is not installed")
    with serving(trained[1], tmp_path) as served, served.client() as client:
        check_ports(served)
        check_answers(served, client)
        check_sessions(client)
        check_metrics(served, client)
        check_loss(served, client)
        check_drain(served, client)
    assert not (tmp_path / "marker").exists()
