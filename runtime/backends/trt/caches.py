"""KV caches on the device, updated in place or from one buffer to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.trt.buffers import lay_out
from omnijet.runtime.backends.trt.engine import Engine

if TYPE_CHECKING:
    from omnijet.runtime.backends.trt.work import Work

KEPT_WORKS = 3
"""Of caches: a decode step, a full step of prefill, and what is left of a prompt."""


class Caches:
    """All carried tensors of one sequence, at an engine's one capacity.

    Attributes:
        capacity: rows.
        turn: which buffer the next run reads.
        works: what runs on them, idle; captured work knows their addresses.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        """Contents are unknown. An engine that does not update in place gives every cache two
        buffers: it reads one and writes the other, and the next run the other way round."""
        self.capacity = capacity
        self._engine = engine
        contract = engine.contract
        specs = [contract.input(pair.input) for pair in contract.state]
        self._places, size = lay_out(specs, {"capacity": capacity})
        count = 1 if engine.entry.caches_in_place else 2
        self._buffers = [engine.device.memory(size) for _ in range(count)]
        self.turn = 0
        self.works: Pool[Work] = Pool(KEPT_WORKS)

    @property
    def turns(self) -> int:
        """How many sets of addresses there are."""
        return len(self._buffers)

    def base(self, turn: int) -> int:
        """What all addresses of a turn count from: another one is another set of caches."""
        return self._buffers[turn].address

    def addresses(self, turn: int) -> dict[str, int]:
        """Of each carried input and output, for a run at this turn."""
        read, written = self._buffers[turn].address, self._buffers[turn - 1].address
        found = {}
        for pair, place in zip(self._engine.contract.state, self._places, strict=True):
            found[pair.input] = read + place.offset
            found[pair.output] = written + place.offset
        return found

    def advance(self) -> None:
        """After a run."""
        if len(self._buffers) > 1:
            self.turn ^= 1

    def zero(self) -> None:
        """Zeros, never garbage: a masked key still multiplies its value by zero."""
        stream = self._engine.stream
        with self._engine.lock:
            for buffer in self._buffers:
                stream.zero(buffer)
            stream.wait()

    def copy_to(self, other: Caches, rows: int) -> None:
        """The first rows of each head."""
        stream = self._engine.stream
        found, to = self.base(self.turn), other.base(other.turn)
        with self._engine.lock:
            for place in self._places if rows else ():
                _, heads, capacity, _ = place.shape
                pitch = place.size // heads  # bytes of one head's rows
                width = pitch // capacity * rows
                stream.copy_rows(to + place.offset, found + place.offset, pitch, width, heads)
            stream.wait()
