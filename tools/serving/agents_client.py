"""A client that nobody here wrote: the realtime session of OpenAI's Agents SDK, unchanged.

    omnijet serve BUNDLE --model omnijet
    PYTHON -m tools.serving.agents_client ws://127.0.0.1:8000/v1/realtime FIRST.wav SECOND.wav

PYTHON is an environment with the package `openai-agents` (0.24 was tried). The first recording is
said and answered; it is said again, and while it is answered the second one is said. Recordings
are 16-bit mono WAV; they are sent in real time. The exit code is 1 if an answer is missing, the
interruption was not noticed or the server sent an error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import wave
from pathlib import Path
from typing import Any

from agents.realtime import (
    OpenAIRealtimeWebSocketModel,
    RealtimeAgent,
    RealtimeRunner,
    RealtimeSession,
)

from omnijet.runtime.files.printable import show

PIECE_S = 0.05
TURN_S = 120.0


class Person:
    """Somebody with a microphone that stays open."""

    def __init__(self, session: RealtimeSession) -> None:
        self._session = session
        self.sound = b""
        self.interruptions = 0
        self.errors: list[str] = []
        self._said: list[tuple[bytes, int]] = []
        self._ended = asyncio.Event()
        self._sounding = asyncio.Event()

    async def speak(self) -> None:
        """Sends what is said, and silence in between, in real time."""
        loop, silence = asyncio.get_running_loop(), bytes(round(24_000 * PIECE_S) * 2)
        began, number, waiting = loop.time(), 0, b""
        while True:
            if not waiting and self._said:
                waiting = self._said.pop(0)[0]
            piece, waiting = waiting[: len(silence)], waiting[len(silence) :]
            number += 1
            await asyncio.sleep(max(0.0, began + number * PIECE_S - loop.time()))
            await self._session.send_audio(piece.ljust(len(silence), b"\0"))

    def say(self, pcm: bytes) -> None:
        """Says something."""
        self._ended.clear()
        self._sounding.clear()
        self._said.append((pcm, 0))

    async def hear(self) -> None:
        """Reads what the session tells."""
        async for event in self._session:
            if event.type == "audio":
                self.sound += event.audio.data
                self._sounding.set()
            elif event.type == "audio_interrupted":
                self.interruptions += 1
            elif event.type == "audio_end" or event.type == "agent_end":
                self._ended.set()
            elif event.type == "error":
                self.errors.append(str(event.error))

    async def until_answered(self) -> None:
        """Waits for the end of an answer, and lets it sound."""
        await asyncio.wait_for(self._ended.wait(), TURN_S)
        await asyncio.sleep(0.5)

    async def until_sounding(self) -> None:
        """Waits for the first sound of an answer."""
        await asyncio.wait_for(self._sounding.wait(), TURN_S)

    def transcripts(self, role: str) -> list[str]:
        """Returns what was said, as the session remembers it."""
        found = []
        for item in self._session._history:
            if getattr(item, "role", None) == role:
                found += [getattr(part, "transcript", None) or "" for part in item.content]
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.serving.agents_client")
    parser.add_argument("url")
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--model", default="omnijet")
    parser.add_argument("--key", default="none")
    parser.add_argument("--voice", default="Chelsie")
    return asyncio.run(_talk(parser.parse_args()))


async def _talk(args: argparse.Namespace) -> int:
    settings: dict[str, Any] = {
        "model_name": args.model,
        "voice": args.voice,
        "turn_detection": {"type": "server_vad", "interrupt_response": True},
        "input_audio_transcription": {"model": args.model},
    }
    runner = RealtimeRunner(
        RealtimeAgent(name="omnijet", instructions="You repeat numbers."),
        model=OpenAIRealtimeWebSocketModel(),
        config={"tracing_disabled": True, "model_settings": settings},  # type: ignore[typeddict-item]
    )
    config = {"url": f"{args.url}?model={args.model}", "api_key": args.key}
    session = await runner.run(model_config=config)  # type: ignore[arg-type]
    async with session:
        person = Person(session)
        tasks = [asyncio.create_task(person.speak()), asyncio.create_task(person.hear())]
        try:
            person.say(_pcm(args.first))
            await person.until_answered()
            first = len(person.sound)
            person.say(_pcm(args.first))
            await person.until_sounding()
            person.say(_pcm(args.second))
            await person.until_sounding()
            await person.until_answered()
        finally:
            for task in tasks:
                task.cancel()
        words = person.transcripts("assistant")
        show(f"user: {person.transcripts('user')}")
    show(f"answers: {words}")
    show(f"sound: {first / 48_000:.2f} s, then {(len(person.sound) - first) / 48_000:.2f} s")
    show(f"interruptions: {person.interruptions}, errors: {person.errors}")
    whole = bool(first) and len(words) >= 2 and bool(person.interruptions)
    return 0 if whole and not person.errors else 1


def _pcm(path: Path) -> bytes:
    """Returns a recording at 24 kHz, by the nearest sample: good enough to be understood."""
    with wave.open(str(path)) as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    count = len(data) // 2 * 24_000 // rate
    samples = (data[2 * (n * rate // 24_000) :][:2] for n in range(count))
    return b"".join(samples)


if __name__ == "__main__":
    sys.exit(main())
