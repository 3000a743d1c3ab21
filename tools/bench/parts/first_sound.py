"""How long a listener waits for the first samples of a spoken reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.model.thinker import THINKER_SAMPLING
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling import media
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.reply import PcmChunk
from tools.bench.parts.setting import RECIPE, VOICE, Setting
from tools.bench.row import Row

QUESTION_S = 5.0
WAYS = ("exact", "balanced", "fast")
ROUNDS = 2
SLIM_PROMPT, SLIM_REPLY, SLIM_CODES = 144, 40, 146  # tokens; 146 codes are 2.92 s

Messages = Sequence[Mapping[str, Any]]


def first_sound(setting: Setting) -> list[Row]:
    """Times the first sample of a reply to a spoken question, by preset."""
    sound = media.voice(QUESTION_S), media.SOUND_RATE_HZ
    asked = messages({"type": "audio", "audio": sound})
    with setting.opened() as omni:
        omni.load(sight=False)
        rows = []
        until_first(omni, asked, "fast", 24, 100)  # loads and binds
        for way in WAYS:
            taken = [until_first(omni, asked, way, 24, 100) for _ in range(ROUNDS)]
            rows.append(
                Row(
                    f"first PCM {setting.title}, a question of 5 s, `{way}`",
                    "s",
                    median(taken),
                    note=f"{guided(way)} guided evaluations",
                )
            )
        return rows


def slim(setting: Setting) -> list[Row]:
    """Times a reply where the Thinker is small: 144 prompt tokens, 40 reply tokens, 2.92 s."""
    bundle = setting.makes.quantized("slim", RECIPE)
    return slim_rows(bundle, WAYS, ROUNDS)


def slim_rows(bundle: Path, ways: Sequence[str], rounds: int) -> list[Row]:
    rows = []
    with Omni.open(bundle) as omni:
        omni.load(sight=False, hearing=False)
        asked = prompt_of(omni, SLIM_PROMPT)
        until_first(omni, asked, ways[-1], SLIM_REPLY, SLIM_CODES)
        for way in ways:
            taken = [until_first(omni, asked, way, SLIM_REPLY, SLIM_CODES) for _ in range(rounds)]
            rows.append(
                Row(
                    f"first PCM, Thinker of 1,024 x 12, {SLIM_PROMPT} prompt tokens, `{way}`",
                    "s",
                    median(taken),
                    note=f"{guided(way)} guided evaluations",
                )
            )
        way = "balanced"
        whole = until_last(omni, asked, way, SLIM_REPLY, SLIM_CODES)
        rows.append(Row(f"... all of its {SLIM_CODES / 50:.2f} s of speech, `{way}`", "s", whole))
    return rows


def messages(*parts: Mapping[str, Any]) -> Messages:
    return [
        {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
        {"role": "user", "content": list(parts)},
    ]


def prompt_of(omni: Omni, tokens: int) -> Messages:
    """Returns a question in words whose prompt has a number of tokens."""

    def asked(words: int) -> Messages:
        return messages({"type": "text", "text": " a" * words})

    def length(words: int) -> int:
        return int(omni.model.prompt(parse_messages(asked(words))).input_ids.size)

    words = 1
    while length(words) < tokens:
        words += max(1, (tokens - length(words)) // 2)
    return asked(words)


def options(omni: Omni, way: str, text_tokens: int, codes: int) -> dict[str, Any]:
    """Returns the options of a reply whose length random weights do not choose."""
    dims = omni.model.dims
    return {
        "preset": way, "voice": VOICE, "seed": 0, "max_text_tokens": text_tokens,
        "max_codes": codes + 1,  # the last is dropped
        "thinker_sampling": replace(THINKER_SAMPLING, suppress=dims.tokens.eos),
        "talker_sampling": replace(TALKER_SAMPLING, suppress=dims.codec.ends),
    }  # fmt: skip


def until_first(omni: Omni, asked: Messages, way: str, text_tokens: int, codes: int) -> float:
    """Returns the seconds until the reader of a stream holds samples; the rest is not made."""
    began = perf_counter()
    with omni.stream(asked, **options(omni, way, text_tokens, codes)) as events:
        for event in events:
            if isinstance(event, PcmChunk) and event.samples.size:
                return perf_counter() - began
    raise AssertionError("a reply without sound")


def until_last(omni: Omni, asked: Messages, way: str, text_tokens: int, codes: int) -> float:
    """Returns the seconds until a whole reply was streamed."""
    began = perf_counter()
    with omni.stream(asked, **options(omni, way, text_tokens, codes)) as events:
        for _ in events:
            pass
        assert len(events.reply.codes) == codes, len(events.reply.codes)
    return perf_counter() - began


def guided(way: str) -> int:
    """Counts the evaluations of a preset that run both branches."""
    return sum(one.branches == 2 for one in PRESETS[way].solver.evaluations)
