"""`python -m tools.serving.churn BUNDLE`: a thousand clients that leave at random moments.

They go during the handshake, while they speak, before the first sound, in the middle of the
reply and at its end, politely, by closing the connection, or by a reset. Afterwards the server may
hold no thread, session, descriptor or file more than before, and it must answer right.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.omni import Omni
from tools.serving import chat
from tools.serving.probe import answers_right, warmed
from tools.serving.questions import Question, answered, pcm16
from tools.serving.raw import ENDS, Wire, post, upgrade, wire
from tools.serving.rules import Report, Rule, tracebacks
from tools.serving.service import Reading, Service, service
from tools.serving.talk import PIECE_S, SESSION, SILENCE

AT_ONCE = 8
LONGEST_S = 120.0  # for one client
SETTLES_S = 60.0
MOST_DELTAS = 12
REALTIME = "/v1/realtime?model=omnijet"
SOUND = "response.output_audio.delta"

Leave = Callable[[Wire, Question, Random], Awaitable[None]]
"""Comes to a moment in which a client leaves."""


@dataclass(slots=True)
class Found:
    """What happened, and what was left.

    Attributes:
        counts: of (moment, end).
        faults: of clients that could not come to their moment, and of the answers afterwards.
        start, end: what the server held; `left` is what it held beyond the start.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    refused: int = 0
    start: Reading = field(default_factory=Reading)
    end: Reading = field(default_factory=Reading)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.churn")
    parser.add_argument("target", metavar="BUNDLE|URL")
    parser.add_argument("--bundle", help="of a server at a URL: answers the questions here first")
    parser.add_argument("--count", type=whole_number(1), default=1000, metavar="N")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args, options = parser.parse_known_args(arguments)
    with Omni.open(args.bundle or args.target, backend=OrtBackend(1)) as omni:
        questions = answered(omni, 16)
    with service(args.target, *options) as server:
        found = asyncio.run(churn(server, questions, args.count, args.seed))
        log = server.log
    return report(found, args.count, log).tell(args.json)


async def churn(
    server: Service, questions: Sequence[Question], count: int, seed: int, warm: int = AT_ONCE
) -> Found:
    """Lets as many clients come and leave, and looks at what they left.

    Args:
        warm: how many ask at once before, so that all is there that stays.
    """
    found, places, began = Found(), asyncio.Semaphore(AT_ONCE), time.monotonic()
    found.faults += await warmed(server, questions, warm)
    found.start = await asyncio.to_thread(server.resting)
    names = list(MOMENTS)

    async def one(number: int) -> None:
        rng = Random(f"{seed} {number}")
        name, end = names[number % len(names)], ENDS[number // len(names) % len(ENDS)]
        async with places:
            found.counts[name, end] += 1
            try:
                async with wire(server.address) as client:
                    await asyncio.wait_for(
                        MOMENTS[name](client, rng.choice(questions), rng), LONGEST_S
                    )
                    await client.close(end)
            except _Refused:
                found.refused += 1
            except (OSError, EOFError, ValueError, KeyError, asyncio.TimeoutError) as error:
                found.faults.append(f"client {number}, {name}: {type(error).__name__}: {error}")

    await asyncio.gather(*map(one, range(count)))
    found.seconds = time.monotonic() - began
    found.end, found.left = await asyncio.to_thread(server.settled, found.start, SETTLES_S)
    found.faults += await answers_right(server, questions[0])
    return found


class _Refused(Exception):
    """There was no room, and the server said so."""


async def _connecting(client: Wire, question: Question, rng: Random) -> None:
    pass


async def _half_a_handshake(client: Wire, question: Question, rng: Random) -> None:
    content = upgrade(REALTIME)
    await client.send(content[: rng.randrange(1, len(content))])


async def _unread_handshake(client: Wire, question: Question, rng: Random) -> None:
    await client.send(upgrade(REALTIME))


async def _opened(client: Wire, question: Question, rng: Random) -> None:
    answer = await client.upgrade()
    if answer.status in (429, 503):
        raise _Refused
    if answer.status != 101:
        raise ValueError(f"status {answer.status}: {answer.body[:200]!r}")
    await client.until("session.created")
    await client.say(type="session.update", session=SESSION)


async def _speaking(client: Wire, question: Question, rng: Random) -> None:
    await _opened(client, question, rng)
    pcm = pcm16(question.samples)
    await _append(client, pcm[: 2 * rng.randrange(1, len(pcm) // 2)])


async def _prefill(client: Wire, question: Question, rng: Random) -> None:
    await _opened(client, question, rng)
    await _append(client, pcm16(question.samples) + SILENCE * round(1.5 / PIECE_S))
    await client.until("input_audio_buffer.speech_stopped", "input_audio_buffer.committed")
    await asyncio.sleep(rng.uniform(0, 0.3))


async def _reply(client: Wire, question: Question, rng: Random) -> None:
    await _prefill(client, question, rng)
    for _ in range(rng.randrange(1, MOST_DELTAS)):
        if (await client.until(SOUND, "response.done"))["type"] == "response.done":
            break


async def _unread_reply(client: Wire, question: Question, rng: Random) -> None:
    """Asks and reads nothing more."""
    await _prefill(client, question, rng)
    await asyncio.sleep(rng.uniform(0.2, 1.0))


async def _barge_in(client: Wire, question: Question, rng: Random) -> None:
    await _reply(client, question, rng)
    await _append(client, pcm16(question.samples)[: 2 * rng.randrange(1, 24_000)])
    if rng.random() < 0.5:
        await client.say(type="response.cancel")


async def _after_the_reply(client: Wire, question: Question, rng: Random) -> None:
    await _prefill(client, question, rng)
    await client.until("response.done")


async def _half_a_request(client: Wire, question: Question, rng: Random) -> None:
    content = _request(question, streams=True)
    await client.send(content[: rng.randrange(1, len(content))])


async def _unread_answer(client: Wire, question: Question, rng: Random) -> None:
    await client.send(_request(question, streams=rng.random() < 0.5))
    await asyncio.sleep(rng.uniform(0, 1.0))


async def _stream(client: Wire, question: Question, rng: Random) -> None:
    await client.send(_request(question, streams=True))
    answer = await client.answer(skips_body=True)
    if answer.status in (429, 503):
        raise _Refused
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    left = rng.randrange(1, 40_000)
    while left > 0 and (piece := await client.read_some(left)):
        left -= len(piece)


MOMENTS: dict[str, Leave] = {
    "connected": _connecting,
    "half a handshake": _half_a_handshake,
    "handshake unread": _unread_handshake,
    "open": _opened,
    "speaking": _speaking,
    "before the first sound": _prefill,
    "in the reply": _reply,
    "reply unread": _unread_reply,
    "barging in": _barge_in,
    "after the reply": _after_the_reply,
    "half a request": _half_a_request,
    "answer unread": _unread_answer,
    "in a stream": _stream,
}


async def _append(client: Wire, pcm: bytes) -> None:
    for start in range(0, len(pcm), len(SILENCE)):
        piece = base64.b64encode(pcm[start : start + len(SILENCE)]).decode()
        await client.say(type="input_audio_buffer.append", audio=piece)


def _request(question: Question, streams: bool) -> bytes:
    return post(chat.PATH, json.dumps(chat.body(question, streams)).encode())


def report(found: Found, count: int, log: str = "") -> Report:
    """Returns the figures of a run and the rules that it had to keep."""
    rows = [(name, *(str(found.counts[name, end]) for end in ENDS)) for name in MOMENTS]
    held = f"{found.end.threads} threads, {sum(found.end.descriptors.values())} descriptors"
    rules = [
        Rule.none("clients that could not come to their moment", found.faults, count),
        Rule("left beyond the start: threads, descriptors, files, sessions", "0",
             "; ".join(found.left) or f"0 ({held}, {len(found.end.files)} files)",
             not found.left),
        Rule.none("tracebacks in the log", tracebacks(log)),
    ]  # fmt: skip
    grown = found.end.resident - found.start.resident
    return Report(
        f"{count} connects and disconnects in {found.seconds:.0f} s, {found.refused} refused; "
        f"memory {found.start.resident / 1e6:.0f} MB, {grown / 1e6:+.1f} MB",
        ("moment", *ENDS), rows, rules, [*found.faults, *tracebacks(log)[:3]],
        {"counts": {f"{name}, {end}": number for (name, end), number in found.counts.items()},
         "left": found.left, "threads": [found.start.threads, found.end.threads]},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
