"""Which of several equal forms a processor runs fastest: measured, and kept as data.

To add a processor, run `python -m tools.bench.products` and `python -m tools.bench.attention`
on it, and add a row in front.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from omnijet.engines.lowering.cpu import EXACT, IN_INT8
from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.bundle.contract import GraphContract


@dataclass(frozen=True, slots=True)
class Choice:
    """What was fastest on one processor, and on whatever has its instruction sets.

    Attributes:
        measured: processor and date.
        needs: instruction sets; none: any processor.
        steps: accuracy level of MatMulNBits by bits in graphs that decode row by row, with `EXACT`
            and `IN_INT8` of `omnijet.engines.lowering.cpu`.
        others: the same in graphs whose calls have many rows.
        few_rows: the most rows of a step for which grouped products are faster than Attention.
    """

    measured: str
    needs: frozenset[str]
    steps: Mapping[int, int]
    others: Mapping[int, int]
    few_rows: int

    def levels(self, contract: GraphContract) -> Mapping[int, int]:
        """Returns the accuracy level for each number of weight bits of a graph."""
        return self.steps if contract.state else self.others


CHOICES = (
    # INT4 in blocks of 64: 146 GFLOP/s a thread at level 4, 100 at level 1, at 128 rows and more
    Choice(
        "AMD EPYC with AVX-512 VNNI, 2026-11-29", frozenset({"avx512_vnni"}),
        {4: IN_INT8, 8: IN_INT8}, {4: IN_INT8, 8: IN_INT8}, 16,
    ),
    # level 4: one row twice as fast, 100 rows 15 % slower; 8 bits in f32 2 to 90 times slower
    Choice(
        "Intel Xeon, 2026-11-25, and all others", frozenset(),
        {4: IN_INT8, 8: IN_INT8}, {4: EXACT, 8: IN_INT8}, 16,
    ),
)  # fmt: skip


ANY = CHOICES[-1]
"""The choice for a graph that any processor may be given."""


def choice(sets: Collection[str] | None = None) -> Choice:
    """Returns the first choice that fits a processor: this one, or one with these sets."""
    known = set(instruction_sets() if sets is None else sets)
    return next(one for one in CHOICES if one.needs <= known)
