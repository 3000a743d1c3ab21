"""A row of the benchmark: one figure, its floor and what others reach at the same work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

RATES = ("tokens/s", "steps/s", "GB/s", "times as fast")
"""Units of which more is better; of all others less is."""

TRANSFORMERS, LLAMA = "transformers", "llama.cpp"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        work: what was done, in words.
        unit: the unit of all three kinds of figures.
        ours: the figure of omnijet.
        floor: what the machine allows at its measured rates; None where nothing is counted.
        reason: what the floor counts.
        peers: figures of others, measured in the same run.
        note: what a reader must know beside.
    """

    work: str
    unit: str
    ours: float
    floor: float | None = None
    reason: str = ""
    peers: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def is_rate(self) -> bool:
        return self.unit in RATES

    @property
    def of_floor(self) -> float | None:
        """How many times the floor's time ours takes: 1 is all that the machine can do."""
        if self.floor is None:
            return None
        return self.floor / self.ours if self.is_rate else self.ours / self.floor

    def times_as_fast(self, peer: str) -> float:
        """How many times as much as a peer omnijet does in the same time, or in the same space."""
        theirs = self.peers[peer]
        return self.ours / theirs if self.is_rate else theirs / self.ours

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
