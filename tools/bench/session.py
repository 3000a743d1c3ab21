"""`python -m tools.bench.session BUNDLE`: what a conversation costs after a clip in its first turn.

Ten turns with a clip in the first: how often the clip is opened, decoded and encoded, and what
the later turns wait for before the first graph call. Then 60 s of sound, fed in pieces of 0.1 s as
a microphone gives them: after the clip, after a text of as many tokens, and after a greeting. The
times are taken in turns; the ratios are medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import omnijet
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.commands.bench import machine
from omnijet.runtime.model.encoders import VisionEncoder
from omnijet.runtime.prompt import preprocess

MEDIA = Path(__file__).parents[2] / "tests" / "media"
CLIP = {"type": "video", "video": str(MEDIA / "clip.mp4")}
QUESTION = {"type": "text", "text": "Which colour was shown when the beep came?"}
TURNS, SECONDS, PIECE, RATE_HZ, ROUNDS = 10, 60, 1600, 16_000, 5
LIMITS: dict[str, Any] = {"speech": False, "seed": 0, "max_text_tokens": 8}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.session", description=__doc__)
    parser.add_argument("bundle")
    bundle = parser.parse_args().bundle
    console = Console(width=100)
    console.print(f"{machine()}\n")
    with omnijet.load(bundle) as omni:
        omni.load()
        console.print(turns(omni))
        to_text, to_greeting = listening(omni, console)
    console.print(f"60 s of feed_audio after a clip, of the time after as much text: {to_text:.2f}")
    console.print(f"of the time after a greeting, with a shorter cache: {to_greeting:.2f}")
    return 0


def turns(omni: omnijet.Omni) -> Table:
    """Asks ten turns, and counts how often the clip is decoded and encoded in each."""
    counts: Counter[str] = Counter()
    load, encode = preprocess.load_video, VisionEncoder.encode

    def counted_load(*args: Any) -> Any:
        counts["decoded"] += 1
        return load(*args)

    def counted_encode(*args: Any) -> Any:
        counts["encoded"] += 1
        return encode(*args)

    table = Table("turn", "clip decoded", "clip encoded", "preprocess, ms", "media kept, kB")
    preprocess.load_video, VisionEncoder.encode = counted_load, counted_encode  # type: ignore
    try:
        session = omni.session()
        for turn in range(TURNS):
            before = counts.copy()
            reply = session.generate([CLIP, QUESTION] if turn == 0 else "And then?", **LIMITS)
            table.add_row(
                str(turn + 1),
                *(str(counts[what] - before[what]) for what in ("decoded", "encoded")),
                f"{reply.timings_ms['preprocess']:.1f}",
                f"{session.media_bytes / 1e3:.0f}",
            )
    finally:
        preprocess.load_video, VisionEncoder.encode = load, encode  # type: ignore[method-assign]
    return table


def listening(omni: omnijet.Omni, console: Console) -> tuple[float, float]:
    """Feeds 60 s after a clip, a text of its length and a greeting; returns the two ratios."""
    sound = (0.1 * np.random.default_rng(0).standard_normal(SECONDS * RATE_HZ)).astype(np.float32)
    rows = fed(omni, [CLIP, QUESTION], sound[:0])[1]
    beside_text, beside_greeting = [], []
    for _ in range(ROUNDS):
        clip, text, greeting = (
            fed(omni, first, sound)[0] for first in ([CLIP, QUESTION], "one " * rows, "Hello")
        )
        beside_text.append(clip / text)
        beside_greeting.append(clip / greeting)
        console.print(f"clip {clip:.2f} s, text {text:.2f} s, greeting {greeting:.2f} s")
    return statistics.median(beside_text), statistics.median(beside_greeting)


def fed(omni: omnijet.Omni, first: Any, sound: Array) -> tuple[float, int]:
    """Feeds a sound after a first turn; returns seconds, and the rows that the turn had."""
    session = omni.session(overflow="drop oldest")
    rows = session.generate(first, **LIMITS).prompt_tokens
    began = perf_counter()
    for start in range(0, sound.size, PIECE):
        session.feed_audio(sound[start : start + PIECE])
    return perf_counter() - began, rows


if __name__ == "__main__":
    sys.exit(main())
