"""The questions that machines must answer alike, and the comparison of their answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEDIA = Path(__file__).parents[2] / "tests" / "media"
LEAST_SNR_DB = 40.0
"""Two kernels differ in the last bits of a float; sounds of equal codes may differ by so much."""

Turn = tuple[tuple[str, str], ...]
"""Parts of a user's turn: (kind, text or the name of a file in `MEDIA`)."""


@dataclass(frozen=True, slots=True)
class Question:
    """Turns of a user, of which the last is answered aloud.

    Attributes:
        streamed: whether the answer is read piece by piece.
    """

    name: str
    turns: tuple[Turn, ...]
    options: Mapping[str, Any]
    streamed: bool = False

    def job(self, media: str) -> dict[str, Any]:
        """Returns it for `answers.py`, whose machine has the files in the folder `media`."""
        turns = [
            [{"type": kind, kind: value if kind == "text" else f"{media}/{value}"}
             for kind, value in turn]
            for turn in self.turns
        ]  # fmt: skip
        return {**asdict(self), "turns": turns, "options": dict(self.options)}


DRAWING: Turn = (("image", "drawing.png"), ("text", "What do you see?"))
CLIP: Turn = (("video", "clip.mp4"), ("text", "Which colour was shown when the beep came?"))
SPOKEN: Turn = (("audio", "question.wav"),)
SHORT = {"seed": 0, "max_codes": 12}
"""The first quarter of a second: an emulated vocoder is far slower than a real one."""
FOLLOWED: tuple[Turn, ...] = (DRAWING, (("audio", "follow_up.wav"),))
QUESTIONS = (
    Question("spoken", (SPOKEN,), {**SHORT, "voice": "Chelsie"}),
    Question("pictured", (DRAWING,), {**SHORT, "voice": "Ethan"}),
    Question("filmed", (CLIP,), {**SHORT, "voice": "Chelsie"}),
    Question("conversed", FOLLOWED, {**SHORT, "voice": "Ethan"}),
    Question("greedy", ((("text", "What is red and round?"),),), {**SHORT, "greedy": True}),
    Question("streamed", (SPOKEN,), {"seed": 7, "preset": "fast", "max_codes": 36}, streamed=True),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer beside the same answer of another machine.

    Attributes:
        codes: how many codec tokens both have, if they are equal.
        snr_db: power of the sound over that of the difference; infinite if all samples are equal.
        fault: what differs; None: nothing that matters.
    """

    name: str
    text: str
    codes: int
    snr_db: float
    fault: str | None


def compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Verdict]:
    """Compares the answers of two machines, by question."""
    assert ours.keys() == theirs.keys(), (list(ours), list(theirs))
    return [_verdict(name, ours[name], theirs[name]) for name in ours]


def _verdict(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Verdict:
    fault, snr = None, float("nan")
    for what in ("text_ids", "codes"):
        if ours[what] != theirs[what] and fault is None:
            same = sum(a == b for a, b in zip(ours[what], theirs[what], strict=False))
            fault = f"{what}: {same} of {len(theirs[what])} equal"
    mine, other = (
        np.frombuffer(base64.b64decode(one["pcm"]), "<i2").astype(np.float64)
        for one in (ours, theirs)
    )
    if fault is None and mine.size != other.size:
        fault = f"{mine.size} samples, not {other.size}"
    if fault is None:
        snr = snr_db(mine, other)
        if snr < LEAST_SNR_DB:
            fault = f"sound: {snr:.0f} dB"
    return Verdict(name, theirs["text"], len(theirs["codes"]), snr, fault)


def snr_db(signal: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Returns the power of a signal over that of its difference from another, in decibels."""
    noise = float(np.sum((signal - other) ** 2))
    power = float(np.sum(signal**2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(power / noise)) if power else float("-inf")
