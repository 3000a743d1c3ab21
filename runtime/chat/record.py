"""What was said in a chat, for its transcript and for `/save`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.playback import RATE_HZ
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.media.wav import write_wav

MOST_SAMPLES = 30 * 60 * RATE_HZ


@dataclass(slots=True, eq=False)
class Turn:
    """What one side said or showed.

    Attributes:
        role: who.
        text: what was typed or written; a placeholder for what was spoken or shown.
        item: the identifier of a reply, where it has one.
        pieces: f32[n] at 24 kHz, the sound of a reply.
        played: samples that sounded, where the reply was cut; else None.
        latency_ms: from the end of the question to the first sound or text.
    """

    role: str
    text: str = ""
    item: str | None = None
    pieces: list[Array] = field(default_factory=list)
    played: int | None = None
    latency_ms: float | None = None

    @property
    def sound(self) -> Array:
        """What was heard of it: f32[n] at 24 kHz."""
        made = np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.float32)
        return made if self.played is None else made[: self.played]


class Record:
    """The turns of a chat, from the first.

    Args:
        most: samples of all replies together; the sound of older ones is let go of.
    """

    def __init__(self, most: float = MOST_SAMPLES) -> None:
        self._most = most
        self.turns: list[Turn] = []
        self._samples = 0

    def add(self, turn: Turn) -> Turn:
        """Adds a turn and returns it."""
        self.turns.append(turn)
        return turn

    def reply(self, item: str) -> Turn:
        """Returns the reply with an identifier; it is begun if there is none."""
        for turn in reversed(self.turns):
            if turn.item == item:
                return turn
        return self.add(Turn("assistant", item=item))

    def hear(self, turn: Turn, samples: Array) -> None:
        """Adds sound to a reply."""
        turn.pieces.append(samples)
        self._samples += len(samples)
        for old in self.turns:
            if self._samples <= self._most or old is turn:
                return
            self._samples -= sum(len(piece) for piece in old.pieces)
            old.pieces = []

    def forget(self) -> None:
        """Begins anew."""
        self.turns = []
        self._samples = 0

    def save(self, path: Path) -> list[Path]:
        """Writes the conversation as JSON, and what was heard as a WAV file beside it.

        Returns:
            The files that were written.

        Raises:
            OSError: one cannot be written.
        """
        rows: list[dict[str, Any]] = []
        sounds: list[Array] = []
        at = 0
        for turn in self.turns:
            row: dict[str, Any] = {"role": turn.role, "text": turn.text}
            if turn.latency_ms is not None:
                row["latency_ms"] = round(turn.latency_ms, 1)
            if turn.played is not None:
                row["heard_s"] = round(turn.played / RATE_HZ, 3)
            if sound := turn.sound.size:
                row["audio_s"] = [round(at / RATE_HZ, 3), round((at + sound) / RATE_HZ, 3)]
                sounds.append(turn.sound)
                at += sound
            rows.append(row)
        spoken = path.with_suffix(".wav")
        found: dict[str, Any] = {"messages": rows}
        if sounds:
            found["audio"] = spoken.name
            write_wav(spoken, np.concatenate(sounds), RATE_HZ)
        write_whole(path, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        return [path, spoken] if sounds else [path]
