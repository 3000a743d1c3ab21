"""Counts what a scenario feeds the encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages


@dataclass(frozen=True, slots=True)
class Inputs:
    """The media of a prompt.

    Attributes:
        sounds: mel frames of each sound, 100 per second.
        grids: (temporal steps, height, width) of each picture and clip, in patches.
    """

    sounds: tuple[int, ...]
    grids: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(omni: Omni, messages: Sequence[Mapping[str, Any]]) -> Inputs:
        """Reads the media in the same way as the turn will."""
        prompt = omni.model.prompt(parse_messages(messages))
        grids = [item.grid for item in (*prompt.images, *prompt.videos) if item.grid is not None]
        return Inputs(prompt.mel_lengths, tuple(grids))

    def __str__(self) -> str:
        """Returns the media in words; empty if there are none."""
        words = [f"{frames / 100:.1f} s of sound" for frames in self.sounds]
        words += [
            f"{steps} x {height} x {width} patches" if steps > 1 else f"{height} x {width} patches"
            for steps, height, width in self.grids
        ]
        return ", ".join(words)
