"""`python -m tools.serving.replicas BUNDLE`: what a second replica on a second core is worth.

The same clients ask a server of one process, one replica under Ray Serve and then more, each held
to a core of its own. The table says how many answers came a second, and which processes the cores
worked for: clients, Ray's entrance and Ray's other processes take their time on the same cores.
Every answer is compared with that of the model in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.omni import Omni
from tools.serving.chat import PATH, body
from tools.serving.questions import Question, answered, words
from tools.serving.rules import Report, Rule
from tools.serving.service import Service, service

WARM_S = 5.0
NAME = "x-omnijet-replica"
REPLICA, ENTRANCE = "ray::ServeReplica", "ray::ProxyActor"
LEAST_GAIN = 1.0
"""A second replica must be worth something; how much depends on who else needs the cores."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one server did.

    Attributes:
        replicas: 0: one process without Ray.
        answers: right ones, in `seconds`.
        by: right answers of each replica.
        latencies_s: of each answer.
        busy_s: seconds of a core that each kind of process worked.
        load: of the machine before, as the system counts it for a minute.
    """

    replicas: int
    seconds: float
    by: dict[str, int]
    latencies_s: list[float]
    wrong: list[str]
    busy_s: dict[str, float]
    load: float

    @property
    def answers(self) -> int:
        return len(self.latencies_s)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def row(self) -> list[str]:
        """The row of the table."""
        one = [f"{1e3 * self.busy_s[kind] / max(1, self.answers):.0f}" for kind in self.busy_s]
        spread = " + ".join(str(count) for count in sorted(self.by.values(), reverse=True))
        return [
            str(self.replicas) if self.replicas else "no Ray",
            f"{self.rate:.2f}", spread, f"{median(self.latencies_s or [0]):.2f} s", *one,
            f"{self.load:.1f}",
        ]  # fmt: skip


@dataclass(slots=True)
class _Clients:
    """Clients that ask without a pause; only what ends in the window counts."""

    server: Service
    bodies: list[tuple[bytes, str]]
    is_counting: bool = False
    by: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def ask_on(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self.server.url, timeout=300) as http:
            while True:
                content, wanted = self.bodies[number % len(self.bodies)]
                began, number = time.monotonic(), number + 1
                answer = await http.post(
                    PATH, content=content, headers={"content-type": "application/json"}
                )
                if self.is_counting:
                    self._count(answer, wanted, time.monotonic() - began)

    def _count(self, answer: httpx.Response, wanted: str, seconds: float) -> None:
        said = f"status {answer.status_code}"
        if answer.status_code == 200:
            said = answer.json()["choices"][0]["message"]["audio"]["transcript"]
        if words(said) != words(wanted):
            self.wrong.append(f"expected {wanted!r}, got {said!r}")
            return
        self.by[answer.headers.get(NAME, "one process")] += 1
        self.latencies_s.append(seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0 if every answer was right and a second replica helps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="of Omnijet-nano")
    parser.add_argument("--replicas", type=whole_number(1), default=2, help="at most")
    parser.add_argument("--clients", type=whole_number(1), default=8, help="at once; 8 by default")
    parser.add_argument("--seconds", type=whole_number(1), default=30, help="of each server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    with Omni.open(args.bundle, backend=OrtBackend(threads=1)) as omni:
        questions = answered(omni, 8)
    counts = [0, *range(1, args.replicas + 1)]
    found = [_measured(args.bundle, n, questions, args.clients, args.seconds) for n in counts]
    return _report(found).tell(args.json)


def _measured(
    bundle: str, replicas: int, questions: Sequence[Question], clients: int, seconds: float
) -> Measured:
    load = os.getloadavg()[0]
    options = ["--threads", "1", *(["--replicas", str(replicas)] if replicas else [])]
    with service(bundle, *options) as server:
        assert server.process is not None
        _hold(psutil.Process(server.process.pid), replicas)
        made = [(json.dumps(body(one)).encode(), one.answer) for one in questions]
        asking = _Clients(server, made)
        busy = asyncio.run(_ask(asking, clients, seconds))
    return Measured(
        replicas, seconds, dict(asking.by), asking.latencies_s, asking.wrong, busy, load
    )


def _hold(parent: psutil.Process, replicas: int) -> None:
    """Holds each replica, or the one process, to a core of its own; all others go anywhere."""
    held = [one for one in parent.children(recursive=True) if _kind(one) == "replicas"]
    for number, process in enumerate(held if replicas else [parent]):
        core = sorted(os.sched_getaffinity(0))[number % len(os.sched_getaffinity(0))]
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, {core})


async def _ask(asking: _Clients, clients: int, seconds: float) -> dict[str, float]:
    """Returns the seconds of a core that each kind of process worked in the window."""
    tasks = [asyncio.create_task(asking.ask_on(number)) for number in range(clients)]
    await asyncio.sleep(WARM_S)
    assert asking.server.process is not None
    before, asking.is_counting = _busy(asking.server.process.pid), True
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    asking.is_counting, after = False, _busy(asking.server.process.pid)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()  # a client failed
    return {kind: after[kind] - before[kind] for kind in after}


def _busy(server: int) -> dict[str, float]:
    found = dict.fromkeys(KINDS, 0.0)
    parent = psutil.Process(server)
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[_kind(process, server)] += times.user + times.system
    found["clients"] = sum(os.times()[:2])
    return found


KINDS = ("replicas", "entrance", "Ray", "clients")


def _kind(process: psutil.Process, server: int = 0) -> str:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        if REPLICA in line:
            return "replicas"
        if ENTRANCE in line:
            return "entrance"
        if process.pid == server and not process.children():
            return "replicas"  # without Ray the one process answers
    return "Ray"


def _report(found: Sequence[Measured]) -> Report:
    one, most = found[1], found[-1]
    gain = most.rate / max(one.rate, 1e-9)
    wrong = [f"{run.replicas} replicas: {fault}" for run in found for fault in run.wrong]
    rules = [
        Rule.none("wrong answers", wrong, sum(run.answers for run in found) + len(wrong)),
        Rule(
            f"{most.replicas} replicas to one", f"above {LEAST_GAIN:g}", f"{gain:.2f} x",
            gain > LEAST_GAIN,
        ),
    ]  # fmt: skip
    head = ["replicas", "answers/s", "of each", "median",
            *(f"{kind}, ms of a core an answer" for kind in KINDS), "load before"]  # fmt: skip
    facts: dict[str, Any] = {"runs": [asdict(run) for run in found], "gain": gain}
    rows = [run.row for run in found]
    return Report("Replicas, each held to one core", head, rows, rules, wrong, facts)


if __name__ == "__main__":
    sys.exit(main())
