"""The stage that fits the codec, a vector quantizer of pairs of mel frames: 50 codes a second.

    python -m omnijet.nano.training.codec

Codes carry words and pitch but not the voice: the mean of each voice is subtracted first.
They range from 1 to 512, because row 0 of the DiT's table is its unconditional branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnijet.nano.training.reply_speech import Spoken, spoken_replies
from omnijet.nano.training.stage import stage_parser
from omnijet.runtime.bundle.contract import Array

CODES = 512
COMPONENTS = 32
QUIET = -9.0  # log mel is clamped to this, so that all silence is equal
WHITENING = 0.35  # exponent: 0 keeps the components' variances, 1 makes them equal
ROUNDS = 30
FITTED_ON = 60_000  # pairs of frames


@dataclass(frozen=True, slots=True)
class Codec:
    """The codec: turns the mel of a voice into codes."""

    means: dict[str, Array]  # voice -> mean mel f32[80]
    centre: Array  # f32[160]
    projection: Array  # f32[160, components]
    codebook: Array  # f32[codes, components]

    def encode(self, mel: Array, voice: str) -> Array:
        """Encodes mel f32[2 * codes, 80] as i64[codes] from 1 to 512."""
        points = torch.from_numpy(self._project(mel, voice))
        nearest = torch.cdist(points, torch.from_numpy(self.codebook)).argmin(-1)
        return nearest.numpy() + 1

    def _project(self, mel: Array, voice: str) -> Array:
        projected: Array = (pairs(mel, self.means[voice]) - self.centre) @ self.projection
        return projected

    def save(self, path: Path) -> None:
        parts: dict[str, Any] = {f"mean_{voice}": mean for voice, mean in self.means.items()}
        parts |= {"centre": self.centre, "projection": self.projection, "codebook": self.codebook}
        staged = path.with_suffix(".part.npz")
        np.savez(staged, **parts)
        staged.rename(path)

    @staticmethod
    def load(path: Path) -> Codec:
        with np.load(path) as file:
            means = {key[5:]: file[key] for key in file if key.startswith("mean_")}
            return Codec(means, file["centre"], file["projection"], file["codebook"])


def pairs(mel: Array, mean: Array) -> Array:
    """Joins two frames each, less the voice's mean: f32[codes, 160]."""
    flat: Array = (np.maximum(mel, QUIET) - mean).reshape(len(mel) // 2, -1)
    return flat


def fit(replies: list[Spoken], seed: int = 0) -> Codec:
    """Fits the codec: principal components, then k-means."""
    voices = sorted({reply.voice for reply in replies})
    means = {
        voice: np.concatenate(
            [np.maximum(reply.mel, QUIET) for reply in replies if reply.voice == voice]
        ).mean(0)
        for voice in voices
    }
    points = np.concatenate([pairs(reply.mel, means[reply.voice]) for reply in replies])
    rng = np.random.default_rng(seed)
    points = points[rng.permutation(len(points))[:FITTED_ON]]
    centre = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov((points - centre).T.astype(np.float64)))
    top = np.argsort(values)[::-1][:COMPONENTS]
    scale = values[top] ** (-WHITENING / 2)
    projection = (vectors[:, top] * scale).astype(np.float32)
    codebook = _k_means(torch.from_numpy((points - centre) @ projection), seed)
    return Codec(means, centre, projection, codebook.numpy())


def _k_means(points: Tensor, seed: int) -> Tensor:
    """Runs Lloyd's algorithm from random points; an empty cluster restarts at a random point."""
    generator = torch.Generator().manual_seed(seed)
    book = points[torch.randperm(len(points), generator=generator)[:CODES]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, book).argmin(-1)
        sums = torch.zeros_like(book).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=CODES)
        empty = sizes == 0
        book = sums / sizes.clamp_min(1)[:, None]
        fresh = torch.randint(len(points), (int(empty.sum()),), generator=generator)
        book[empty] = points[fresh]
    return book


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    codec = fit(spoken_replies(args.folder))
    codec.save(args.folder / "codec.npz")
    print(f"{CODES} codes in {args.folder / 'codec.npz'}")


if __name__ == "__main__":
    main()
