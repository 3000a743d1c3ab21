"""Which rows of a prompt stand for which medium."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.media.image import Grid
from omnijet.runtime.model.audio_plan import audio_token_count
from omnijet.runtime.prompt.layout import Prompt


class Medium(NamedTuple):
    """A picture, what is seen of a clip, or a sound.

    Attributes:
        token: its placeholder.
        content: f32[patches, patch_width], or f32[n_mels, frames] of a sound.
        grid: (t, h, w) in patches; None: a sound.
        rows: i64[tokens], where the prompt holds it, rising.
    """

    token: int
    content: Array
    grid: Grid | None
    rows: Array


def media_rows(prompt: Prompt, dims: ModelDims) -> list[Medium]:
    """The media of a prompt: pictures, clips, sounds."""
    tokens, cell = dims.tokens, dims.vision.merge**2
    found: list[Medium] = []
    for token, items in ((tokens.image, prompt.images), (tokens.video, prompt.videos)):
        rows = np.flatnonzero(prompt.input_ids == token)
        for item in items:
            count = math.prod(item.grid) // cell
            found.append(Medium(token, item.patches, item.grid, rows[:count]))
            rows = rows[count:]
    rows = np.flatnonzero(prompt.input_ids == tokens.audio)
    for mel in prompt.audios:
        count = audio_token_count(mel.shape[1])
        found.append(Medium(tokens.audio, mel, None, rows[:count]))
        rows = rows[count:]
    return found
