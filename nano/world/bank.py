"""A bank of utterances: synthesized once, stored in one file and read back as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from omnijet.nano.world.speech import Manner, Samples, say


@dataclass(frozen=True, slots=True)
class Bank:
    """Utterances in memory."""

    texts: list[str]
    manners: list[Manner]
    samples: Samples  # all utterances, one after the other
    offsets: npt.NDArray[np.int64]  # [utterances + 1]

    def __len__(self) -> int:
        return len(self.texts)

    def sound(self, index: int) -> npt.NDArray[np.float32]:
        """Returns an utterance as f32[samples] in [-1, 1] at 16 kHz."""
        part = self.samples[self.offsets[index] : self.offsets[index + 1]]
        return part.astype(np.float32) / np.float32(32768)

    @staticmethod
    def read(path: Path) -> Bank:
        """Reads a bank from its file."""
        with np.load(path) as file:
            described = json.loads(str(file["facts"]))
            manners = [Manner(**fact) for fact in described["manners"]]
            return Bank(described["texts"], manners, file["samples"], file["offsets"])


def write_bank(path: Path, wanted: Iterable[tuple[str, Manner]], jobs: int = 2) -> Bank:
    """Synthesizes every text in its manner and stores the bank, or reads an existing file.

    Args:
        path: The bank's file.
        wanted: Texts with the manner of each.
        jobs: How many speech engines run at once.
    """
    if path.exists():
        return Bank.read(path)
    pairs = list(wanted)
    with ThreadPoolExecutor(jobs) as pool:
        said = pool.map(lambda pair: say(*pair), pairs)
        sounds = list(track(said, f"saying {path.stem}", total=len(pairs)))
    offsets = np.cumsum([0, *map(len, sounds)])
    described = {"texts": [t for t, _ in pairs], "manners": [asdict(m) for _, m in pairs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part.npz")
    np.savez(staged, facts=json.dumps(described), samples=np.concatenate(sounds), offsets=offsets)
    staged.rename(path)
    return Bank.read(path)
