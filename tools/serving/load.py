"""`python -m tools.serving.load BUNDLE`: many people talk to one server at once, then too many.

Half of them speak in real time over `/v1/realtime`, the others ask `/v1/chat/completions`, with
and without a stream. Each asks numbers that nobody else asks, so that a stream that goes to the
wrong client is found. Meant for a bundle of Omnijet-nano; the exit code is 1 if a rule is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from websockets.exceptions import WebSocketException

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.omni import Omni
from tools.serving import chat
from tools.serving.heard import Heard
from tools.serving.judged import Found, report
from tools.serving.questions import Question, answered
from tools.serving.service import Service, service, watched_memory
from tools.serving.talk import Refused, voice

OPTIONS = ("--wait-s", "120")
"""Long, because on two cores fifty people wait long: what is refused shows nothing of streams."""
CROWD = 4  # as many clients at once as the rest of the run has, times this
RECONNECTS_AFTER = 3  # rounds over one socket


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.load")
    parser.add_argument("target", metavar="BUNDLE|URL")
    parser.add_argument("--bundle", help="of a server at a URL: answers the questions here first")
    parser.add_argument("--clients", type=whole_number(2), default=50, metavar="N")
    parser.add_argument("--seconds", type=whole_number(1), default=120, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--talkers", type=whole_number(0), metavar="N", help="half by default")
    args, options = parser.parse_known_args(arguments)
    with Omni.open(args.bundle or args.target, backend=OrtBackend(1)) as omni:
        questions = answered(omni)
    if args.clients > len(questions):
        parser.error(f"there are questions for {len(questions)} clients only")
    talkers = args.clients // 2 if args.talkers is None else min(args.talkers, args.clients)
    with service(args.target, *OPTIONS, *options) as server:
        found = asyncio.run(load(server, questions, args.clients, talkers, args.seconds))
        log = server.log
    return report(found, args.clients, log).tell(args.json)


async def load(
    server: Service,
    questions: Sequence[Question],
    clients: int,
    talkers: int,
    seconds: float,
    crowd: int = CROWD,
) -> Found:
    """Lets clients talk for some seconds, and then a crowd.

    Args:
        questions: at least one for each client; those with a follow-up first.
        talkers: how many of the clients speak in real time.
    """  # fmt: skip
    found, began = Found(), time.monotonic()
    shares = [list(questions[number::clients]) for number in range(clients)]
    async with watched_memory(server) as memory:
        end = time.monotonic() + seconds
        await asyncio.gather(
            *(_talk(server, f"talker {n}", shares[n], end, found) for n in range(talkers)),
            *(_ask(server, f"asker {n}", shares[n], end, found) for n in range(talkers, clients)),
        )
    found.memory, found.seconds = list(memory), time.monotonic() - began
    if crowd:
        found.crowd = await _crowd(server, questions, clients * crowd, bool(talkers))
    return found


async def _ask(
    server: Service, client: str, questions: Sequence[Question], end: float, found: Found
) -> None:
    """Asks one question after another, with a stream and without in turns."""
    ways = (True, False) if sum(map(ord, client)) % 2 else (False, True)
    rounds = cycle([(question, streams) for streams in ways for question in questions])
    async with chat.client(server) as http:
        while time.monotonic() < end:
            question, streams = next(rounds)
            heard = await chat.ask(http, question, client, streams)
            found.turns.append(heard)
            await asyncio.sleep(heard.retry_s or 0)


async def _talk(
    server: Service, client: str, questions: Sequence[Question], end: float, found: Found
) -> None:
    """Says one number after another, asks about it, and connects anew now and then."""
    rounds, is_first = cycle(questions), True
    while is_first or time.monotonic() < end:
        is_first = False
        try:
            async with voice(server.socket_url, client) as talker:
                for _ in range(RECONNECTS_AFTER):
                    question = next(rounds)
                    heard = await talker.ask(question.samples, question.answer)
                    found.turns.append(heard)
                    if question.follow_up and heard.is_whole:
                        found.turns.append(await talker.ask(*question.follow_up))
                    if not found.turns[-1].is_whole or time.monotonic() > end:
                        break
                    await talker.forget()
            await asyncio.sleep(found.turns[-1].retry_s or 0)
        except Refused as refusal:
            heard = Heard(client, "realtime", "")
            heard.refused(refusal.retry_after)
            found.turns.append(heard)
            await asyncio.sleep(heard.retry_s or 0)
        except (OSError, ValueError, WebSocketException) as error:
            fault = Heard(client, "realtime", "", faults=[f"{type(error).__name__}: {error}"])
            found.turns.append(fault)
            await asyncio.sleep(1)


async def _crowd(
    server: Service, questions: Sequence[Question], size: int, speaks: bool
) -> list[Heard]:
    """Lets as many clients ask at once, half of them aloud if it speaks; each asks once."""
    found = Found()

    async def one(number: int) -> None:
        mine, client = questions[number % len(questions)], f"crowd {number}"
        if speaks and number % 2:
            await _talk(server, client, [mine], time.monotonic(), found)
            return
        async with chat.client(server) as http:
            found.turns.append(await chat.ask(http, mine, client, number % 4 == 0))

    await asyncio.gather(*map(one, range(size)))
    return found.turns


if __name__ == "__main__":
    sys.exit(main())
