"""`python -m tools.serving.abuse BUNDLE`: two thousand malformed requests, made from a seed.

Each must be refused with a status of 400 to 499 or an error event, in JSON that says what is wrong,
or the connection must close where that is right: no 500, no hang, no memory over a bound.
Afterwards the server must answer right. What fails is named with its number.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import size_text, whole_number
from omnijet.runtime.omni import Omni
from tools.serving import wrong_fields, wrong_http, wrong_media, wrong_sockets
from tools.serving.attempt import Attempt, Maker, Wrong
from tools.serving.probe import answers_right
from tools.serving.questions import Question, answered
from tools.serving.rules import Report, Rule, tracebacks
from tools.serving.service import Service, service, watched_memory

AT_ONCE = 12
LONGEST_S = 90.0
MOST_GROWTH = 1 << 30
IDLE, IDLE_SHARE = "conversations that answer nothing", 250
OPTIONS = ("--header-s", "3", "--body-s", "5", "--pixels", "2000000")
"""Short times, so that slow clients take no hour; small pictures: large ones are no abuse."""
KINDS: dict[str, tuple[Maker, int]] = {
    "fields of a request": (wrong_fields.chat_fields(), 8),
    "unknown fields, values out of range": (wrong_fields.chat_ranges(), 4),
    "fields of events": (wrong_fields.event_fields(), 12),
    "bodies": (wrong_http.bodies(), 5),
    "lines and headers": (wrong_http.lines(), 4),
    "paths, methods, names": (wrong_http.routes(), 5),
    "slow and half": (wrong_http.slow(), 2),
    "damaged media": (wrong_media.damage(), 3),
    "truncated WAV": (wrong_media.truncated(), 2),
    "bombs": (wrong_media.bombs(), 2),
    "events": (wrong_sockets.events(), 4),
    "frames": (wrong_sockets.frames(), 4),
    "handshakes": (wrong_sockets.handshakes(), 2),
}
"""A maker of each kind, and its share."""


@dataclass(slots=True)
class Found:
    """What became of all attempts.

    Attributes:
        ends: of each kind, how the server took it.
        slowest: seconds, by kind.
        peak, start: bytes in memory.
        after: what was wrong with answers afterwards.
    """

    ends: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    start: int = 0
    peak: int = 0
    after: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.abuse")
    parser.add_argument("target", metavar="BUNDLE|URL")
    parser.add_argument("--bundle", help="of a server at a URL: answers the questions here first")
    parser.add_argument("--count", type=whole_number(1), default=2000, metavar="N")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this; may repeat")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args, options = parser.parse_known_args(arguments)
    with Omni.open(args.bundle or args.target, backend=OrtBackend(1)) as omni:
        questions = answered(omni, 4)
    attempts = attempts_of(args.count, args.seed, args.kind or list(KINDS))
    with service(args.target, *OPTIONS, *options) as server:
        found = asyncio.run(abuse(server, questions, attempts))
        log = server.log
    return report(found, len(attempts), log).tell(args.json)


def attempts_of(count: int, seed: int, kinds: Sequence[str]) -> list[tuple[str, Attempt]]:
    """Returns attempts of all kinds in turns, as often as their shares say."""
    row = [kind for kind in kinds for _ in range(KINDS[kind][1])]
    Random(seed).shuffle(row)
    made = [(IDLE, wrong_sockets.idle()(Random(seed), n)) for n in range(count // IDLE_SHARE)]
    counts = Counter[str]()
    for number in range(count - len(made)):
        kind = row[number % len(row)]
        made.append((kind, KINDS[kind][0](Random(f"{seed} {number}"), counts[kind])))
        counts[kind] += 1
    return made


async def abuse(
    server: Service, questions: Sequence[Question], attempts: Sequence[tuple[str, Attempt]]
) -> Found:
    """Makes all attempts and watches the memory; asks before and afterwards."""
    before = await answers_right(server, questions[0])
    start = server.resident()
    server.peak(forget=True)
    async with watched_memory(server, 0.05) as memory:
        found = await tried(server, attempts)
    found.start, found.peak = start, max(server.peak(), *(resident for _, resident in memory))
    found.after = [*before, *await answers_right(server, questions[-1])]
    return found


async def tried(server: Service, attempts: Sequence[tuple[str, Attempt]]) -> Found:
    """Makes all attempts, several at once, and asks nothing else."""
    found, places = Found(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int, kind: str, attempt: Attempt) -> None:
        async with places:
            began = time.monotonic()
            try:
                end = await asyncio.wait_for(attempt.run(server), LONGEST_S)
            except asyncio.TimeoutError:
                end = "hang"
                found.hangs.append(f"{number}, {attempt.name}")
            except (Wrong, OSError, EOFError, ValueError, KeyError) as error:
                end = "fault"
                found.faults.append(f"{number}, {attempt.name}: {type(error).__name__}: {error}")
            took = time.monotonic() - began
            found.ends.setdefault(kind, Counter())[end] += 1
            found.slowest[kind] = max(found.slowest.get(kind, 0.0), took)

    await asyncio.gather(*(one(n, *attempt) for n, attempt in enumerate(attempts)))
    return found


def report(found: Found, count: int, log: str = "") -> Report:
    """Returns the figures of a run and the rules that it had to keep."""
    rows = [
        (
            kind, str(ends.total()),
            ", ".join(f"{number} x {end}" for end, number in sorted(ends.items())),
            f"{found.slowest[kind]:.1f} s",
        )
        for kind, ends in found.ends.items()
    ]  # fmt: skip
    rules = [
        Rule.none("requests that were not refused clearly", found.faults, count),
        Rule.none(f"hangs (over {LONGEST_S:.0f} s)", found.hangs, count),
        Rule("memory at most, over the start", size_text(MOST_GROWTH),
             f"{size_text(max(0, found.peak - found.start))} over {size_text(found.start)}",
             found.peak - found.start <= MOST_GROWTH),
        Rule.none("wrong answers before and afterwards", found.after),
        Rule.none("tracebacks in the log", tracebacks(log)),
    ]  # fmt: skip
    return Report(
        f"{count} malformed requests", ("kind", "requests", "how they ended", "slowest"), rows,
        rules, [*tracebacks(log)[:3], *found.faults, *found.hangs, *found.after],
        {"ends": found.ends, "slowest": found.slowest, "start": found.start, "peak": found.peak},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
