"""What a conversation has been fed so far: caches that the next turn goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims
from omnijet.runtime.model.decoder import Context
from omnijet.runtime.prompt.media_rows import Medium


@dataclass(slots=True)
class Memory:
    """State of one conversation; a fresh one knows nothing.

    Attributes:
        marks: i64[n], what each row fed to the Thinker was, see `marks`.
        positions: i64[3, n], where it stood.
        rows: f32[n, hidden], what the Talker reads of it.
        thinker, talker: caches; the Thinker's holds at least these n rows.
        prefilled_rows: number of these rows at the front of the Talker's cache.
    """

    marks: Array = field(default_factory=lambda: np.empty(0, np.int64))
    positions: Array = field(default_factory=lambda: np.empty((3, 0), np.int64))
    rows: Array | None = None
    thinker: Context | None = None
    talker: Context | None = None
    prefilled_rows: int = 0
    _written: list[tuple[int, int, Array]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.marks.size + len(self._written)

    def recall(self, marks: Array, positions: Array) -> int:
        """Forgets all that a prompt does not begin with, and says how many of its rows are
        left: they need not be fed again. Its last row always is: it makes the logits."""
        self._settle()
        most = min(self.marks.size, marks.size - 1)
        same = self.marks[:most] == marks[:most]
        same &= (self.positions[:, :most] == positions[:, :most]).all(0)
        known = most if same.all() else int(same.argmin())
        self.marks, self.positions = self.marks[:known], self.positions[:, :known]
        if self.rows is not None:
            self.rows = self.rows[:known]
        self.prefilled_rows = min(self.prefilled_rows, known)
        return known

    def learn(self, marks: Array, positions: Array, rows: Array) -> None:
        """Rows of a prompt were fed: i64[n], i64[3, n], f32[n, hidden]."""
        self._settle()
        self.marks = np.concatenate([self.marks, marks])
        self.positions = np.concatenate([self.positions, positions], axis=1)
        self.rows = rows if self.rows is None else np.concatenate([self.rows, rows])

    def write(self, token: int, position: int, row: Array) -> None:
        """A token of the reply was fed."""
        self._written.append((token, position, row))

    def fork(self) -> Memory:
        """The same knowledge in caches of its own."""
        self._settle()
        return Memory(
            self.marks,
            self.positions,
            self.rows,
            None if self.thinker is None else self.thinker.copy(self.marks.size),
            None if self.talker is None else self.talker.copy(self.prefilled_rows),
            self.prefilled_rows,
        )

    def _settle(self) -> None:
        if self._written:
            tokens, positions, rows = zip(*self._written, strict=True)
            self._written = []
            self.learn(
                np.array(tokens, np.int64),
                np.tile(np.array(positions, np.int64), (3, 1)),
                np.stack(rows),
            )


def marks(ids: Array, media: Sequence[Medium], dims: AudioEncoderDims) -> Array:
    """i64[L]: what each row of a prompt is made from. Token ids, and for rows of media a hash
    below 0 of what the encoder reads: of the picture or clip, of the 2 s of sound."""
    found = ids.copy()
    for medium in media:
        if medium.grid is None:
            found[medium.rows] = _sound_marks(medium.content, medium.rows.size, dims)
        else:
            found[medium.rows] = _hash(medium.content)
    return found


def _sound_marks(mel: Array, tokens: int, dims: AudioEncoderDims) -> Array:
    starts = range(0, mel.shape[1], dims.chunk_frames)
    blocks = [_hash(mel[:, start : start + dims.chunk_frames]) for start in starts]
    return np.repeat(blocks, dims.chunk_tokens)[:tokens]


def _hash(content: Array) -> int:
    digest = hashlib.blake2b(str(content.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(content).data)
    return -1 - (int.from_bytes(digest.digest(), "little") >> 1)
