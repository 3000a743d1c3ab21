"""`python -m tools.serving.first_sound BUNDLE`: what the socket adds until the first sound.

The question of the scenario `question` of `omnijet profile` (5 s of sound) is asked in this
process, given whole, as `omnijet profile` asks it; and over `/v1/realtime` of a server in another
process: once sent at once and committed, and once in real time, so that the server listens while
it comes. The three take turns, so that whatever else the machine does meets all of them. Times are
from the end of the question to the first sound, at the client. The exit code is 1 if a median over
the socket is more than `MOST_MS` above that of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import soxr
from websockets.asyncio.client import ClientConnection, connect

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.files.printable import show
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.measure import measure_one
from omnijet.runtime.profiling.media import SOUND_RATE_HZ, voice
from omnijet.runtime.profiling.scenarios import QUESTION_S, SCENARIOS
from tools.serving.service import service

MOST_MS = 60.0
PIECE_MS = 100
RATE_HZ = 24_000
ANSWER_S = 300.0
HERE, AT_ONCE, LIVE = "in this process", "socket, sent at once", "socket, in real time"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.first_sound")
    parser.add_argument("bundle")
    parser.add_argument("--runs", type=whole_number(1), default=9, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args, options = parser.parse_known_args(arguments)
    with (
        Omni.open(args.bundle, backend=OrtBackend(1)) as omni,
        service(args.bundle, *options) as server,
    ):
        found = asyncio.run(_measured(omni, server.socket_url, args.runs))
    return _tell(found, args.json)


async def _measured(omni: Omni, url: str, runs: int) -> dict[str, list[float]]:
    """Returns milliseconds by way; a first round is not counted."""
    found: dict[str, list[float]] = {HERE: [], AT_ONCE: [], LIVE: []}
    samples = soxr.resample(voice(QUESTION_S), SOUND_RATE_HZ, RATE_HZ)
    pcm = pcm16(samples)
    for number in range(runs + 1):
        ways = {
            HERE: await asyncio.to_thread(_here, omni),
            AT_ONCE: await _over(url, pcm, live=False),
            LIVE: await _over(url, pcm, live=True),
        }
        for way, ms in ways.items():
            if number:
                found[way].append(ms)
    return found


def _here(omni: Omni) -> float:
    scenario = SCENARIOS["question"]
    messages = scenario.messages(Path())
    return measure_one(omni, scenario, messages, "exact").latency_ms["first_pcm"]


async def _over(url: str, pcm: bytes, live: bool) -> float:
    """Asks in a conversation of its own; returns when the first sound came."""
    async with await connect(url, max_size=None, ping_timeout=None) as socket:
        await _until(socket, "session.created")
        heard = {"input": {"turn_detection": None}}
        await _send(socket, "session.update", session={"type": "realtime", "audio": heard})
        await _until(socket, "session.updated")
        size, began = RATE_HZ * PIECE_MS // 1000 * 2, time.perf_counter()
        for number, first in enumerate(range(0, len(pcm), size), start=1):
            if live:
                wait = began + number * PIECE_MS / 1000 - time.perf_counter()
                await asyncio.sleep(max(0.0, wait))
            audio = base64.b64encode(pcm[first : first + size]).decode()
            await _send(socket, "input_audio_buffer.append", audio=audio)
        ended = time.perf_counter()
        await _send(socket, "input_audio_buffer.commit")
        await _send(socket, "response.create")
        await _until(socket, "response.output_audio.delta")
        waited = 1e3 * (time.perf_counter() - ended)
        await _send(socket, "response.cancel")
        await _until(socket, "response.done")
        return waited


async def _send(socket: ClientConnection, type: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": type, **fields}))


async def _until(socket: ClientConnection, type: str) -> None:
    while True:
        event = json.loads(await asyncio.wait_for(socket.recv(), ANSWER_S))
        if event["type"] == type:
            return
        if event["type"] == "error":
            raise RuntimeError(f"instead of {type}: {event['error']}")


def _tell(found: dict[str, list[float]], file: Path | None) -> int:
    middle = {way: median(values) for way, values in found.items()}
    for way, values in found.items():
        more = f", {middle[way] - middle[HERE]:+.0f} ms" if way != HERE else ""
        show(f"{way}: {middle[way]:.0f} ms ({min(values):.0f} to {max(values):.0f}){more}")
    within = all(middle[way] - middle[HERE] <= MOST_MS for way in (AT_ONCE, LIVE))
    show(f"{'within' if within else 'NOT within'} {MOST_MS:.0f} ms of this process")
    if file is not None:
        file.write_text(json.dumps({"ms": found, "within": within}, indent=2) + "\n")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
