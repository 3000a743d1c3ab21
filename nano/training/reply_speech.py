"""The spoken replies of training as waves and mel in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnijet.nano.training.banks import line_bank, reply_bank
from omnijet.nano.world.bank import Bank
from omnijet.nano.world.speech import REPLY_MANNERS
from omnijet.nano.world.speech_mel import speech_mel, to_speech_rate
from omnijet.runtime.bundle.contract import Array

VOICE_OF = {manner: name for name, manner in REPLY_MANNERS.items()}


@dataclass(frozen=True, slots=True)
class Spoken:
    """One spoken reply."""

    text: str
    voice: str
    wave: Array  # f32[480 * codes] at 24 kHz
    mel: Array  # f32[2 * codes, 80]


def spoken_replies(folder: Path) -> list[Spoken]:
    """Returns all replies, which codec, DiT and vocoder learn from."""
    return _spoken(reply_bank(folder), folder / "reply_mels.npz")


def spoken_lines(folder: Path) -> list[Spoken]:
    """Returns the additional lines that the Talker learns from."""
    return _spoken(line_bank(folder), folder / "line_mels.npz")


def _spoken(bank: Bank, path: Path) -> list[Spoken]:
    """Returns the spoken texts of a bank; their mel is stored in a file."""
    waves = [to_speech_rate(bank.sound(index)) for index in range(len(bank))]
    if not path.exists():
        staged = path.with_suffix(".part.npz")
        np.savez(staged, mels=np.concatenate([speech_mel(wave) for wave in waves]))
        staged.rename(path)
    mels = np.load(path)["mels"]
    edges = np.cumsum([0, *(len(wave) // 240 for wave in waves)])
    return [
        Spoken(text, VOICE_OF[manner], wave, mels[edges[i] : edges[i + 1]])
        for i, (text, manner, wave) in enumerate(zip(bank.texts, bank.manners, waves, strict=True))
    ]
