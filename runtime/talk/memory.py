"""The rows and KV caches of a conversation, which the next turn goes on from.

Media are kept with their messages (`omnijet.runtime.prompt.medium`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.decoder import Context


@dataclass(slots=True)
class Memory:
    """The state of one conversation; a fresh one knows nothing.

    Attributes:
        fingerprints: i64[n], what each row fed to the Thinker was made from, see
            `Prompt.fingerprints`.
        positions: i64[3, n], where each row stood.
        rows: f32[n, hidden], what the Talker reads of each row; None without a Talker.
        thinker, talker: the caches; the Thinker's holds at least these n rows.
        prefilled_rows: number of these rows at the front of the Talker's cache.
    """

    fingerprints: Array = field(default_factory=lambda: np.empty(0, np.int64))
    positions: Array = field(default_factory=lambda: np.empty((3, 0), np.int64))
    rows: Array | None = None
    thinker: Context | None = None
    talker: Context | None = None
    prefilled_rows: int = 0
    _written: list[tuple[int, int, Array | None]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.fingerprints.size + len(self._written)

    def clear(self) -> None:
        """Forgets everything, the caches too.

        Rows of a cache that are not finite would spoil later turns even where they are masked: the
        graphs multiply them by zero.
        """
        fresh = Memory()
        for field_ in fields(Memory):
            setattr(self, field_.name, getattr(fresh, field_.name))

    def recall(self, fingerprints: Array, positions: Array) -> int:
        """Forgets every row that a prompt does not begin with, and returns how many are left.

        These rows need not be fed again. The prompt's last row is never among them, because it
        makes the logits.
        """
        self._settle()
        most = min(self.fingerprints.size, fingerprints.size - 1)
        same = self.fingerprints[:most] == fingerprints[:most]
        same &= (self.positions[:, :most] == positions[:, :most]).all(0)
        known = most if same.all() else int(same.argmin())
        self.fingerprints = self.fingerprints[:known]
        self.positions = self.positions[:, :known]
        if self.rows is not None:
            self.rows = self.rows[:known]
        self.prefilled_rows = min(self.prefilled_rows, known)
        return known

    def learn(self, fingerprints: Array, positions: Array, rows: Array | None) -> None:
        """Adds rows of a prompt that were fed: i64[n], i64[3, n], f32[n, hidden].

        A model gives `rows` always or never.
        """
        self._settle()
        self.fingerprints = np.concatenate([self.fingerprints, fingerprints])
        self.positions = np.concatenate([self.positions, positions], axis=1)
        if rows is not None:
            self.rows = rows if self.rows is None else np.concatenate([self.rows, rows])

    def write(self, token: int, position: int, row: Array | None) -> None:
        """Adds a token of the reply that was fed."""
        self._written.append((token, position, row))

    def fork(self) -> Memory:
        """Returns the same knowledge in caches of its own."""
        self._settle()
        return Memory(
            self.fingerprints,
            self.positions,
            self.rows,
            None if self.thinker is None else self.thinker.copy(self.fingerprints.size),
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
                None if rows[0] is None else np.stack(rows),
            )
