"""The encoder features of the world's media, stored in files for the training of the Thinker.

The Thinker then trains on thousands of media a second instead of dozens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

from omnijet.nano.training.banks import heard_bank
from omnijet.nano.training.hearing import Listener
from omnijet.nano.training.sight import FRAME_SIZE, Viewer, enlarged, patches_of
from omnijet.nano.training.towers import encode_pictures, encode_sounds, log_mels
from omnijet.nano.world.clips import SIZE as CLIP_SIZE
from omnijet.nano.world.clips import soundtrack
from omnijet.nano.world.pictures import draw_scene
from omnijet.nano.world.sounds import add_noise
from omnijet.nano.world.speech import RATE_HZ
from omnijet.nano.world.words import COLOURS, SHAPES
from omnijet.runtime.bundle.contract import Array

TAKES = 2  # versions of each utterance with different noise, gain and pause
PICTURES, FRAMES = 100, 24  # for each (count, colour, shape); for each (colour, shape)
TRACKS = 2400
BATCH = 24
Half = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Sounds:
    """The features of sounds of different length."""

    rows: Half  # [tokens of all sounds, width]
    edges: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]  # mel frames of each sound

    def __getitem__(self, index: int) -> Array:
        return self.rows[self.edges[index] : self.edges[index + 1]].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of all training media.

    Attributes:
        takes: Sound `TAKES * i + k` is version k of the bank's utterance i.
        pictures: f16[count - 1, colour, shape, picture, cells, width].
        frames: f16[colour, shape, frame, cells, width].
        tracks: The sounds of clips.
        track_seconds: The length of each track in seconds.
        beeps: The second of the beep in each track.
    """

    takes: Sounds
    pictures: Half
    frames: Half
    tracks: Sounds
    track_seconds: npt.NDArray[np.int64]
    beeps: npt.NDArray[np.int64]


def features(folder: Path, seed: int = 0) -> Features:
    """Reads the features, or encodes all media first, which takes a few minutes."""
    loaded = {
        **_cached("heard", folder, "hearing", lambda: _encode_all_sounds(folder, seed)),
        **_cached("seen", folder, "sight", lambda: _encode_all_pictures(folder, seed)),
    }
    takes = Sounds(loaded["takes"], loaded["take_edges"], loaded["take_frames"])
    tracks = Sounds(loaded["tracks"], loaded["track_edges"], loaded["track_frames"])
    return Features(
        takes, loaded["pictures"], loaded["frames"], tracks, loaded["seconds"], loaded["beeps"]
    )


def _cached(
    name: str, folder: Path, stage: str, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Reads a file of features; makes it first if it is missing or older than its encoder."""
    path, encoder = folder / f"features_{name}.npz", folder / f"{stage}.pt"
    if not path.exists() or path.stat().st_mtime < encoder.stat().st_mtime:
        staged = path.with_suffix(".part.npz")
        with torch.no_grad():
            np.savez(staged, **make())
        staged.rename(path)
    with np.load(path) as file:
        return {key: file[key] for key in file}


def _encode_all_sounds(folder: Path, seed: int) -> dict[str, Any]:
    net = Listener()
    net.load_state_dict(torch.load(folder / "hearing.pt", weights_only=True)["model"])
    tower = net.tower.eval()
    bank = heard_bank(folder)
    rng = np.random.default_rng(seed)

    def encode(name: str, sounds: Iterator[Array], total: int) -> dict[str, Any]:
        rows, counts, frames = [], [], []
        batch: list[Array] = []
        for number, sound in enumerate(track(sounds, f"encoding {name}s", total), start=1):
            batch.append(sound)
            if len(batch) == BATCH or number == total:
                mels, lengths = log_mels(batch)
                made, own = encode_sounds(tower, mels, lengths)
                rows += [row[:count].half().numpy() for row, count in zip(made, own, strict=True)]
                counts += own
                frames += lengths
                batch = []
        return {
            f"{name}s": np.concatenate(rows),
            f"{name}_edges": np.cumsum([0, *counts]),
            f"{name}_frames": np.array(frames),
        }

    def takes() -> Iterator[Array]:
        for index in range(len(bank)):
            for _ in range(TAKES):
                pause = np.zeros(int(rng.uniform(0, 0.4) * RATE_HZ), np.float32)
                yield add_noise(np.concatenate([pause, bank.sound(index)]), rng)

    seconds = rng.integers(3, 6, TRACKS)
    beeps = (rng.random(TRACKS) * seconds).astype(np.int64)
    tracks = (soundtrack(int(s), rng, int(b))[0] for s, b in zip(seconds, beeps, strict=True))
    return {
        **encode("take", takes(), TAKES * len(bank)),
        **encode("track", tracks, TRACKS),
        "seconds": seconds,
        "beeps": beeps,
    }


def _encode_all_pictures(folder: Path, seed: int) -> dict[str, Any]:
    net = Viewer()
    net.load_state_dict(torch.load(folder / "sight.pt", weights_only=True)["model"])
    tower = net.tower.eval()
    rng = Random(seed)
    pictures, frames = [], []
    kinds = list(product(range(1, 5), COLOURS, SHAPES))
    for count, colour, shape in track(kinds, "encoding pictures"):
        drawn = [patches_of(draw_scene(count, colour, shape, rng)) for _ in range(PICTURES)]
        patches = torch.from_numpy(np.stack([part for part, _ in drawn]))
        pictures.append(encode_pictures(tower, patches, *drawn[0][1]).half().numpy())
    for colour, shape in track(list(product(COLOURS, SHAPES)), "encoding frames"):
        drawn = [
            patches_of(enlarged(draw_scene(1, colour, shape, rng, CLIP_SIZE)))
            for _ in range(FRAMES)
        ]
        patches = torch.from_numpy(np.stack([part for part, _ in drawn]))
        frames.append(encode_pictures(tower, patches, *drawn[0][1]).half().numpy())
    assert drawn[0][1] == (FRAME_SIZE[1] // 14, FRAME_SIZE[0] // 14)
    shape4 = (4, len(COLOURS), len(SHAPES))
    return {
        "pictures": np.stack(pictures).reshape(*shape4, PICTURES, *pictures[0].shape[1:]),
        "frames": np.stack(frames).reshape(*shape4[1:], FRAMES, *frames[0].shape[1:]),
    }
