"""What was measured or published, with its source: the planner is fitted to some, tried on others.

Each is a rate or a time of work that the planner can predict. Those that are `held_out` take no
part in the fit (`omnijet.deployment.planner.fit`): they say how good the predictions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omnijet.deployment.planner.peaks import BENCHED, Peaks

Work = Literal[
    "thinker step", "talker step", "prefill", "dit", "vocoder", "audio encoder", "first pcm",
    "speech",
]  # fmt: skip

FULL = "BENCHMARKS.md, `make bench-full` of 2026-11-30"
EARLIER = "BENCHMARKS.md until 2026-11-29, `make bench` on two cores with AVX2"
FORMS = "engines/ort_forms.py, one thread of an AMD EPYC (Zen 4)"
EDGE_LLM = "NVIDIA, TensorRT-Edge-LLM 0.9, performance page: INT4 AWQ, one sequence, JetPack 7.2"
PUBLISHED_INT4 = "INT4 in blocks of 128"
ON_H100 = "BENCHMARKS.md, `make gpu-check` on an H100, ONNX Runtime 1.31.1"

ONE_THREAD = Peaks.of_cpu(BENCHED.read / 2, BENCHED.single / 2, BENCHED.int8 / 2, FORMS)
"""Half of what two cores do."""
H100 = Peaks(3350e9, 989e12, 1979e12, 1979e12, 495e12, 67e12, "NVIDIA, H100 data sheet, SXM")
AGX_ORIN_64 = Peaks(205e9, 42.5e12, 85e12, 85e12, 21e12, 5.3e12, "omnijet.engines.targets.devices")
OLDER = Peaks.of_cpu(BENCHED.read, 126e9, 126e9, EARLIER)
"""The floor of 563 ms for 71 GFLOP, as the table has it, is 126 GFLOP/s."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure.

    Attributes:
        seconds: of the work, once.
        model: name of a preset.
        recipe: name of a recipe; None: floats.
        size: rows of the cache or the prompt, mel frames, or codes.
        preset: how speech is made.
        machine: None: see `source`.
    """

    work: Work
    seconds: float
    source: str
    model: str
    recipe: str | None
    size: int
    preset: str = "exact"
    machine: Peaks = BENCHED
    held_out: bool = False

    @property
    def title(self) -> str:
        recipe = self.recipe or "floats"
        preset = f", {self.preset}" if self.work in ("first pcm", "speech") else ""
        return f"{self.work}, {self.model} {recipe}, {self.size:,}{preset}"


def _rate(work: Work, per_s: float, size: int, rows: int = 1, held_out: bool = False) -> Measured:
    return Measured(work, rows / per_s, FULL, "3b", "cpu-int4", size, held_out=held_out)


ON_CPU = (
    _rate("thinker step", 18.2, 128),
    _rate("thinker step", 18.8, 512, held_out=True),
    _rate("thinker step", 14.5, 2048, held_out=True),
    _rate("thinker step", 11.6, 4000),
    _rate("thinker step", 9.61, 8192, held_out=True),
    _rate("thinker step", 6.14, 32768),
    _rate("prefill", 63.5, 128, 128, held_out=True),
    _rate("prefill", 60.3, 512, 512),
    _rate("prefill", 52.2, 2048, 2048, held_out=True),
    _rate("talker step", 96.7, 300),
    Measured("talker step", 1 / 77.7, FULL, "slim", "INT8 Talker", 300),
    # the Thinker of 1,024 x 12: 144 prompt tokens, 40 of the reply, 146 codes
    Measured("first pcm", 3.78, FULL, "slim", "cpu-int4", 144, "exact"),
    Measured("first pcm", 2.26, FULL, "slim", "cpu-int4", 144, "balanced", held_out=True),
    Measured("first pcm", 1.76, FULL, "slim", "cpu-int4", 144, "fast"),
    Measured("speech", 13.7, FULL, "slim", "cpu-int4", 144, "balanced"),
    Measured("dit", 0.578, EARLIER, "3b", None, 96, machine=OLDER),
    Measured("dit", 0.85, FORMS, "3b", None, 96, machine=ONE_THREAD, held_out=True),
    # with today's form of the graph, which takes 1.8 s of a processor where that one took 2.5
    Measured("vocoder", 2.297 * 1.8 / 2.5, EARLIER, "3b", None, 96, machine=OLDER, held_out=True),
    Measured("vocoder", 1.13, FORMS, "3b", None, 48, machine=ONE_THREAD),
    Measured("audio encoder", 1.32, FORMS, "3b", None, 200, machine=ONE_THREAD, held_out=True),
)
ON_GPU = (
    Measured("thinker step", 5.5e-3, ON_H100, "3b", None, 512, machine=H100),
    Measured("talker step", 2.6e-3, ON_H100, "3b", None, 512, machine=H100),
    # 100 codes in one piece, 36 evaluations
    Measured("dit", 196e-3 / 36, ON_H100, "3b", None, 200, machine=H100),
    Measured("vocoder", 26e-3, ON_H100, "3b", None, 200, machine=H100),
    # arithmetic of TensorRT: nothing of it was measured here
    Measured("prefill", 123.7e-3, EDGE_LLM, "qwen3-4b", PUBLISHED_INT4, 292, machine=AGX_ORIN_64),
    Measured(
        "prefill", 261e-3, EDGE_LLM, "qwen2.5-7b", PUBLISHED_INT4, 376, machine=AGX_ORIN_64,
        held_out=True,
    ),
)  # fmt: skip
SLIM_REPLY, SLIM_CODES = 40, 146  # tokens of the reply and codes of its speech
"""What `tools.bench.parts.first_sound` asks of a Thinker of 1,024 x 12."""
