"""`omnijet serve` as a process: its address, its end by signals, its faults."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.command import heed_signals
from tests.layering import ROOT

PATIENCE_S = 120.0
QUESTION = (ROOT / "tests" / "media" / "question.wav").read_bytes()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "omnijet", "serve", *map(str, words)]


@contextmanager
def running(*words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts a server at a free port, and waits until it is ready; yields its base URL."""
    with subprocess.Popen(
        command(*words, "--port", 0, "--threads", 1), cwd=ROOT, text=True,
        stderr=subprocess.PIPE, preexec_fn=heed_signals,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            said, url = "", None
            while url is None:
                line = process.stderr.readline()
                assert line, said
                said += line
                url = re.search(r"API at (http://127\.0\.0\.1:\d+)/v1", said)
            deadline = time.monotonic() + PATIENCE_S
            while httpx.get(f"{url[1]}/ready").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process, url[1]
        finally:
            process.kill()


def asked(url: str) -> Any:
    """Asks for a spoken reply, as a stream."""
    data = base64.b64encode(QUESTION).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    body = {
        "model": "served",
        "stream": True,
        "modalities": ["text", "audio"],
        "audio": {"voice": "Chelsie", "format": "pcm16"},
        "messages": [{"role": "user", "content": [part]}],
    }
    return httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_S)


def long(url: str) -> Any:
    """Asks for a minute of speech, which takes long."""
    body = {
        "model": "served",
        "voice": "Chelsie",
        "input": "four seven one " * 60,
        "response_format": "pcm",
    }
    return httpx.stream("POST", f"{url}/v1/audio/speech", json=body, timeout=PATIENCE_S)


def ended(process: subprocess.Popen[str]) -> str:
    """Waits for the end; returns what was said on stderr meanwhile."""
    assert process.stderr is not None
    said = process.stderr.read()
    process.wait(PATIENCE_S)
    return said


def test_sigterm_lets_replies_end_and_refuses_new_ones(trained: tuple[Path, Path]) -> None:
    with running(trained[1], "--model", "served") as (process, url), asked(url) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        with httpx.Client() as client:
            while (ready := client.get(f"{url}/ready")).status_code == 200:
                time.sleep(0.01)
            assert ready.json()["error"]["code"] == "closing"
            body = {"model": "served", "messages": [{"role": "user", "content": "Hi"}]}
            refused = client.post(f"{url}/v1/chat/completions", json=body)
            assert refused.status_code == 503 and refused.headers["retry-after"]
        rest = list(lines)
        said = ended(process)
    assert "data: [DONE]" in rest and process.returncode == 0, said
    (record,) = [json.loads(line) for line in said.splitlines() if '"finish_reason"' in line]
    assert record["finish_reason"] == "stop" and record["kind"] == "chat"
    assert record["text_tokens"] == 4 and record["latency_ms"]["first_pcm"] > 0
    assert "text" not in record and "prompt" not in record  # nobody asked for contents
    assert "Traceback" not in said


def test_replies_that_do_not_end_in_time_are_ended(trained: tuple[Path, Path]) -> None:
    words = (trained[1], "--model", "served", "--drain-s", 0, "--log-content")
    with running(*words) as (process, url), asked(url) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
        said = ended(process)
    assert process.returncode == 0 and "Traceback" not in said, said
    assert "data: [DONE]" not in rest
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "busy_closing"
    assert '"finish_reason":"cancelled"' in said and '"prompt":' in said


def test_ctrl_c_ends_it_as_all_commands(trained: tuple[Path, Path]) -> None:
    with running(trained[1]) as (process, _):
        process.send_signal(signal.SIGINT)
        said = ended(process)
    assert process.returncode == 130 and "Traceback" not in said, said


def test_a_second_signal_waits_for_nobody(trained: tuple[Path, Path]) -> None:
    with (
        running(trained[1], "--model", "served", "--drain-s", 600) as (process, url),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as silent,
        long(url) as answer,
    ):
        pieces = answer.iter_bytes()  # kept: the end of it would close the connection
        assert next(pieces)
        silent.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/ready").status_code == 200:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = ended(process)
    assert process.returncode == 0 and "Traceback" not in said, said
    assert '"finish_reason":"cancelled"' in said


def refused(*words: object, **options: Any) -> str:
    done = subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, **options
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("omnijet: ")
    return done.stderr


def test_faults_are_told_as_those_of_all_commands(trained: tuple[Path, Path]) -> None:
    assert "no bundle is named" in refused()
    assert "no such folder" in refused("/nowhere")
    assert "--port: expected a whole number" in refused(trained[1], "--port", "x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = refused(trained[1], "--port", taken.getsockname()[1])
    assert "Address already in use" in told and "--port" in told


def test_a_missing_extra_is_told() -> None:
    code = (
        "import sys\n"
        "sys.modules['starlette'] = None\n"
        "from omnijet.cli import main\n"
        "sys.exit(main(['serve', 'bundle']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "omnijet[serve]"' in done.stderr, done.stderr


@pytest.mark.parametrize("words", [("--print-config",), ("b", "--turns", "3", "--print-config")])
def test_settings_are_printed_without_a_bundle(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        env={"OMNIJET_API_KEY": "sesame-street", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0 and "turns = " in done.stdout
    assert "sesame" not in done.stdout + done.stderr
