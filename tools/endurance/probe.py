"""One fixed question, asked several times because a single turn is noisy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from omnijet.runtime.omni import Omni
from tests.prompts import text, user
from tools.endurance.questions import Limits

REPEATS = 11
MEDIA = Path(__file__).parents[2] / "tests" / "media"
DRAWING = {"type": "image", "image": str(MEDIA / "drawing.png")}
QUESTION = user(DRAWING, text("What do you see?"))


@dataclass(frozen=True, slots=True)
class Latency:
    """Median milliseconds of one turn.

    They are the time to the first sample, the time to the end, and the CPU time, which other
    processes disturb less.
    """

    first_pcm: float
    whole: float
    processor: float

    @staticmethod
    def measure(omni: Omni, limits: Limits) -> Latency:
        """Measures the same reply several times, streamed and read without pauses."""
        options = {"seed": 0, "max_text_tokens": limits.text_tokens, "max_codes": limits.codes}
        taken = []
        for _ in range(REPEATS):
            began, busy = time.perf_counter(), time.process_time()
            stream = omni.stream(QUESTION, **options)
            for _ in stream:
                pass
            whole, busy = time.perf_counter() - began, time.process_time() - busy
            taken.append((stream.reply.latency_ms["first_pcm"], 1e3 * whole, 1e3 * busy))
        return Latency(*(median(values) for values in zip(*taken, strict=True)))
