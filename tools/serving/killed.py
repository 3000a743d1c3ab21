"""`python -m tools.serving.killed BUNDLE`: kill -9 in the middle of turns, and a restart.

After each kill the bundle must be whole, and nothing of the server may be left; the next server
must answer right at the same port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import httpx
from websockets.exceptions import WebSocketException

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.child.start import start
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.leftovers import temporary_folder
from omnijet.runtime.omni import Omni
from tools.serving import chat
from tools.serving.probe import answers_right
from tools.serving.questions import Question, answered
from tools.serving.rules import Report, Rule
from tools.serving.service import Service, free_port, started, temporary_files
from tools.serving.talk import Refused, voice

CLIENTS = 6
LONGEST_S = 2.5  # until the kill


@dataclass(slots=True)
class Found:
    """What became of all rounds.

    Attributes:
        cut: turns that the kills cut.
        back_s: from each restart until the server was ready.
        faults: what must not be, one text each.
    """

    cut: int = 0
    back_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.killed")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--rounds", type=whole_number(1), default=20, metavar="N")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args, options = parser.parse_known_args(arguments)
    with Omni.open(args.bundle, backend=OrtBackend(1)) as omni:
        questions = answered(omni, CLIENTS)
    found = killed(args.bundle, questions, args.rounds, args.seed, options)
    return report(found, args.rounds).tell(args.json)


def killed(
    bundle: str, questions: Sequence[Question], rounds: int, seed: int, options: Sequence[str] = ()
) -> Found:
    """Starts, kills and starts again."""
    found, rng, port = Found(), Random(seed), free_port()
    before = _listing(bundle)
    with temporary_folder("omnijet-serving-") as folder:
        server = started(bundle, folder, port, *options)
        try:
            server.wait_ready()
            for number in range(rounds):
                found.cut += asyncio.run(_cut(server, questions, rng.uniform(0, LONGEST_S)))
                left = _left(server, bundle, before)
                found.faults += [f"round {number}: {text}" for text in left]
                began = time.monotonic()
                server = started(bundle, folder, port, *options)
                server.wait_ready()
                found.back_s.append(time.monotonic() - began)
                asked = questions[number % len(questions)]
                faults = asyncio.run(answers_right(server, asked))
                found.faults += [f"round {number}: {text}" for text in faults]
            if "Traceback" in server.log:
                found.faults.append(f"a traceback in the log: {server.log[-1000:]}")
        finally:
            code = server.stop()
        if code:
            found.faults.append(f"the last server ended with {code}")
        found.faults += [f"left at the end: {name}" for name in temporary_files(folder / "tmp")]
    return found


async def _cut(server: Service, questions: Sequence[Question], seconds: float) -> int:
    """Lets clients talk and kills the server under them; returns how many turns that cut."""
    clients = [
        asyncio.create_task(_turn(server, question, number))
        for number, question in enumerate(questions)
    ]
    await asyncio.sleep(seconds)
    server.kill()
    ends = await asyncio.wait_for(asyncio.gather(*clients), 60)
    return ends.count(False)


async def _turn(server: Service, question: Question, number: int) -> bool:
    """Returns whether a turn came to its end."""
    with suppress(httpx.HTTPError, OSError, ValueError, WebSocketException, Refused):
        if number % 2:
            async with voice(server.socket_url, "cut") as talker:
                return (await talker.ask(question.samples, question.answer)).is_whole
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            return (await chat.ask(http, question, "cut", number % 4 == 0)).is_whole
    return False


def _left(server: Service, bundle: str, before: dict[str, int]) -> list[str]:
    """Returns what a kill must not leave: a damaged bundle, files, processes."""
    assert server.process is not None and server.folder is not None
    found = [f"left: {name}" for name in temporary_files(server.folder / "tmp")]
    if (after := _listing(bundle)) != before:
        found.append(f"files of the bundle changed: {set(after.items()) ^ set(before.items())}")
    found += [f"left: process {number}" for number in _group(server.process.pid)]
    with open(server.folder / "check", "wb") as said:
        code = start("omnijet.__main__", "check", bundle, stdout=said, stderr=said).wait()
    if code:
        found.append(f"omnijet check says {code}: {(server.folder / 'check').read_text()[-500:]}")
    return found


def _listing(bundle: str) -> dict[str, int]:
    """Returns the sizes of all files of a bundle."""
    files = (path for path in Path(bundle).rglob("*") if path.is_file())
    return {str(path.relative_to(bundle)): path.stat().st_size for path in files}


def _group(leader: int) -> list[int]:
    """Returns the processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.getpgid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def report(found: Found, rounds: int) -> Report:
    """Returns the figures of a run and the rules that it had to keep."""
    back = found.back_s
    rules = [
        Rule.none("faults after a kill and after a restart", found.faults, rounds),
        Rule("turns that were cut", "> 0", str(found.cut), found.cut > 0),
        Rule("back at the same port", str(rounds), str(len(back)), len(back) == rounds),
    ]
    figures = (f"{median(back):.1f} s", f"{max(back):.1f} s") if back else ("", "")
    return Report(
        f"{rounds} kills in the middle of turns",
        ("kills", "turns cut", "ready again, median", "slowest"),
        [(str(rounds), str(found.cut), *figures)], rules, found.faults,
        {"cut": found.cut, "back_s": back},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
