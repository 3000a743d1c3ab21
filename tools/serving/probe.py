"""Asks a server a question in every way, to warm it up, or to see that it still answers right."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from websockets.exceptions import WebSocketException

from tools.serving import chat
from tools.serving.questions import Question
from tools.serving.service import Service
from tools.serving.talk import Refused, voice


async def answers_right(server: Service, question: Question, realtime: bool = True) -> list[str]:
    """Asks with a stream, without, and aloud; returns what was wrong."""
    faults = []
    async with chat.client(server) as http:
        for streams in (True, False):
            heard = await chat.ask(http, question, "probe", streams)
            if not heard.is_whole:
                faults.append(str(heard) + (" refused" if heard.retry_s else ""))
    if not realtime:
        return faults
    try:
        async with voice(server.socket_url, "probe") as talker:
            heard = await talker.ask(question.samples, question.answer)
            if not heard.is_whole:
                faults.append(str(heard))
    except (OSError, ValueError, WebSocketException, Refused) as error:
        faults.append(f"probe: {type(error).__name__}: {error}")
    return faults


async def warmed(server: Service, questions: Sequence[Question], at_once: int) -> list[str]:
    """Asks several at once, so that all is made that is made once; returns what was wrong."""
    found = await asyncio.gather(
        *(answers_right(server, questions[n % len(questions)]) for n in range(at_once))
    )
    return [fault for faults in found for fault in faults]
