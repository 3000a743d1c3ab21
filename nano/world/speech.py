"""Speech at 16 kHz from flite and espeak-ng, which are Debian packages of the same names."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE_HZ = 16_000
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Manner:
    """The manner in which a text is spoken.

    Attributes:
        engine: "flite" or "espeak-ng".
        voice: The engine's name of the voice.
        stretch: The duration relative to the voice's own.
        pitch: The pitch relative to the voice's own.
    """

    engine: str
    voice: str
    stretch: float = 1.0
    pitch: float = 1.0


MEAN_F0_HZ = {"slt": 170.0, "rms": 95.0, "awb": 125.0, "kal16": 105.0}
STRETCHES, PITCHES = (0.85, 1.0, 1.15, 1.3), (0.9, 1.0, 1.12)
ESPEAK_VOICES = ("en-us", "en-gb", "en-us+m3", "en-us+f2", "en-gb+f4", "en-gb+m7")
ESPEAK_WORDS_A_MINUTE = 150

_FLITE = [Manner("flite", *rest) for rest in product(MEAN_F0_HZ, STRETCHES, PITCHES)]
_ESPEAK = [Manner("espeak-ng", *rest) for rest in product(ESPEAK_VOICES, STRETCHES[1:])]
_UNSEEN = {
    ("slt", 0.85, 1.12), ("rms", 1.15, 0.9), ("awb", 1.0, 1.12), ("kal16", 1.15, 1.0),
    ("slt", 1.3, 1.0), ("rms", 0.85, 1.0), ("en-us", 1.15, 1.0), ("en-gb+f4", 1.0, 1.0),
}  # fmt: skip
UNSEEN = [m for m in _FLITE + _ESPEAK if (m.voice, m.stretch, m.pitch) in _UNSEEN]
"""The combinations of voice, speed and pitch that only the held-out set contains."""
SEEN_FLITE = [m for m in _FLITE if m not in UNSEEN]
SEEN_ESPEAK = [m for m in _ESPEAK if m not in UNSEEN]

REPLY_MANNERS = {"Chelsie": Manner("flite", "slt"), "Ethan": Manner("flite", "rms")}
"""The manner of each voice of replies."""


def seen_manner(rng: Random) -> Manner:
    """Draws a manner for training, one in six from espeak-ng."""
    return rng.choice(SEEN_ESPEAK if rng.random() < 1 / 6 else SEEN_FLITE)


def say(text: str, manner: Manner) -> Samples:
    """Synthesizes a text as int16[samples] at 16 kHz.

    Raises:
        FileNotFoundError: The engine is not installed (Debian: `apt install flite espeak-ng`).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run(_command(text, manner, path), check=True, stdout=subprocess.DEVNULL)
        samples, rate = soundfile.read(path, dtype="int16")
    if rate != RATE_HZ:
        samples = soxr.resample(samples, rate, RATE_HZ, quality="HQ")
    said: Samples = samples
    return said


def phone_ends(text: str, manner: Manner) -> list[tuple[str, float]]:
    """Returns the phones with which flite speaks a text, each with its end in seconds."""
    assert manner.engine == "flite"
    command = [*_command(text, manner, Path("none")), "-psdur"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (item.rsplit(":", 1) for item in printed.split())
    return [(phone, float(end)) for phone, end in pairs]


def _command(text: str, manner: Manner, path: Path) -> list[str]:
    if manner.engine == "flite":
        f0 = MEAN_F0_HZ[manner.voice] * manner.pitch
        return [
            "flite", "-voice", manner.voice, "--setf", f"duration_stretch={manner.stretch}",
            *(() if manner.pitch == 1 else ("--setf", f"int_f0_target_mean={f0}")),
            "-t", text, "-o", str(path),
        ]  # fmt: skip
    speed = round(ESPEAK_WORDS_A_MINUTE / manner.stretch)
    return ["espeak-ng", "-v", manner.voice, "-s", str(speed), "-w", str(path), text]
