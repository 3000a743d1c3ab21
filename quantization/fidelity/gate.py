"""Tolerances: how much fidelity a quantized bundle may lose.

A gate file is a JSON object of tolerances by name. `null` turns a metric off, and metrics that are
not named keep their defaults:

    {"thinker_kl": 0.02, "pcm_snr_db": 10, "sight_snr_db": null}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from omnijet.nano.evaluation.answers import SHUFFLED
from omnijet.nano.evaluation.paired import ScoreChange
from omnijet.quantization.fidelity.measure import Fidelity
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import read_json

Bound = Literal["at least", "at most"]
Gate = Mapping[str, float | None]
"""Tolerance of each metric; None: the metric is off."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that may have a tolerance.

    Attributes:
        default: the default tolerance; None: the metric is off.
        value: reads the number from a measurement; None if it was not measured.
    """

    name: str
    bound: Bound
    default: float | None
    meaning: str
    value: Callable[[Fidelity], float | None]

    def holds(self, value: float, tolerance: float) -> bool:
        """Returns whether a value is within a tolerance; a NaN never is."""
        return value >= tolerance if self.bound == "at least" else value <= tolerance


def _judged(fidelity: Fidelity) -> list[ScoreChange]:
    """Returns all scores but the one with shuffled time ids.

    A change of that one is neither better nor worse.
    """
    return [change for change in fidelity.scores if change.before.name != SHUFFLED]


# The defaults pass plain rounding of Omnijet-nano's weights to 4 bits in blocks of 64 and
# refuse 3 bits: KL of the Talker 0.019 and 0.108, mel 21.9 and 14.8 dB, audio features
# 26.7 and 19.3 dB.
METRICS = (
    Metric("thinker_top1", "at least", 0.95, "Thinker: same most likely token",
           lambda f: None if f.thinker is None else f.thinker.top1),
    Metric("thinker_kl", "at most", 0.05, "Thinker: mean KL, nats a token",
           lambda f: None if f.thinker is None else f.thinker.kl_mean),
    Metric("thinker_perplexity_ratio", "at most", 1.05, "Thinker: perplexity, times the float's",
           lambda f: None if f.thinker is None else f.thinker.perplexity_ratio),
    Metric("talker_top1", "at least", 0.85, "Talker: same most likely code",
           lambda f: None if f.talker is None else f.talker.top1),
    Metric("talker_kl", "at most", 0.1, "Talker: mean KL, nats a code",
           lambda f: None if f.talker is None else f.talker.kl_mean),
    Metric("hearing_snr_db", "at least", 20.0, "audio encoder: features, dB",
           lambda f: f.snr_db.hearing),
    Metric("sight_snr_db", "at least", 20.0, "vision encoder: features, dB",
           lambda f: f.snr_db.sight),
    Metric("mel_snr_db", "at least", 15.0, "DiT: mel, dB", lambda f: f.snr_db.mel),
    # off: an inaudible shift of phase counts as noise
    Metric("pcm_snr_db", "at least", None, "DiT and vocoder: wave, dB", lambda f: f.snr_db.pcm),
    # off: one weak layer may not matter, and if it does other metrics show it
    Metric("layer_snr_db", "at least", None, "worst layer by itself, dB",
           lambda f: f.layers[0].snr_db if f.layers else None),
    Metric("score_loss", "at most", None, "scores: largest loss",
           lambda f: max((change.loss for change in _judged(f)), default=None)),
    Metric("score_loss_sure", "at most", 0.02, "scores: largest loss, its interval's near end",
           lambda f: max((change.sure_loss for change in _judged(f)), default=None)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judgement:
    """A metric's value and its tolerance; `passed` is None if one of them is missing."""

    metric: str
    meaning: str
    bound: Bound
    value: float | None
    tolerance: float | None
    passed: bool | None


def default_gate() -> dict[str, float | None]:
    return {metric.name: metric.default for metric in METRICS}


def read_gate(path: Path) -> dict[str, float | None]:
    """Returns the defaults with the tolerances of a gate file.

    Raises:
        OmnijetError: the file cannot be read, or names or tolerances are wrong; lists every
            unknown name with the near miss, and every tolerance that is no number.
    """
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise ValueError(f"expected an object, got {type(data).__name__}")
    except (OSError, ValueError) as error:
        raise OmnijetError(
            "the gate file cannot be read",
            where=path,
            expected='a JSON object of tolerances, such as {"thinker_kl": 0.02}',
            got=getattr(error, "strerror", None) or error,
        ) from error
    gate = default_gate()
    faults = [fault for name, value in data.items() if (fault := _fault(name, value, gate))]
    if faults:
        raise OmnijetError(
            f"the gate file cannot be used ({len(faults)} faults)",
            where=path,
            expected=", ".join(gate),
            got="\n            ".join(faults),
        )
    return {**gate, **data}


def _fault(name: str, value: object, known: Gate) -> str | None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        return f"unknown name {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"{name}: expected a number or null, got {value!r}"
    return None


def judge(fidelity: Fidelity, gate: Gate) -> list[Judgement]:
    """Returns the judgement of every metric, in the order of the table."""
    judgements = []
    for metric in METRICS:
        value, tolerance = metric.value(fidelity), gate[metric.name]
        passed = None
        if value is not None and tolerance is not None:
            passed = metric.holds(value, tolerance)
        judgements.append(
            Judgement(metric.name, metric.meaning, metric.bound, value, tolerance, passed)
        )
    return judgements


def faults(fidelity: Fidelity, judgements: Sequence[Judgement]) -> list[str]:
    """Returns a line for each metric beyond its tolerance and each number that is not finite."""
    beyond = [
        f"{j.metric}: {j.value:.4g}, not {j.bound} {j.tolerance:g}"
        for j in judgements
        if j.passed is False
    ]
    return [f"not finite: {where}" for where in fidelity.not_finite] + beyond
