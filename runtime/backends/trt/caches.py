"""KV caches on the device, updated in place or from one buffer to another."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.trt.buffers import lay_out
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array


class Caches:
    """All carried tensors of one sequence, at one capacity; contents are unknown at first.

    An engine that does not update its caches in place gets two buffers for them: a run reads one
    buffer and writes the other, and the next run goes the other way round.

    Attributes:
        capacity: rows.
        side: the number of the buffer that the next run reads.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        self.capacity = capacity
        self._engine = engine
        contract = engine.contract
        specs = [contract.input(pair.input) for pair in contract.state]
        self._places, size = lay_out(specs, {"capacity": capacity})
        count = 1 if engine.entry.caches_in_place else 2
        self._buffers = [engine.device.memory(size) for _ in range(count)]
        self.side = 0

    @property
    def sides(self) -> int:
        """How many buffers there are, and so how many sets of addresses."""
        return len(self._buffers)

    def base(self, side: int) -> int:
        """Returns the address of a buffer, which tells one set of caches from another."""
        return self._buffers[side].address

    def addresses(self, side: int) -> dict[str, int]:
        """Returns the address of each carried input and output for a run that reads this side."""
        read, written = self._buffers[side].address, self._buffers[side - 1].address
        found = {}
        for pair, place in zip(self._engine.contract.state, self._places, strict=True):
            found[pair.input] = read + place.offset
            found[pair.output] = written + place.offset
        return found

    def advance(self) -> None:
        """Swaps the sides after a run."""
        if len(self._buffers) > 1:
            self.side ^= 1

    def zero(self) -> None:
        """Writes zeros, never leaves garbage: a masked key still multiplies its value by zero."""
        engine = self._engine
        with device_call(), engine.lock:
            for buffer in self._buffers:
                engine.stream.zero(buffer)
            engine.stream.wait()

    def rows(self, chosen: Sequence[int]) -> dict[str, Array]:
        """Returns copies of these rows of every carried tensor, by the name of its input.

        The tensors pass through host memory of the size of one: in `chosen` are a few rows, and
        the caches are the largest thing on the device but for the weights.
        """
        engine = self._engine
        found: dict[str, Array] = {}
        host = engine.device.host_memory(max(place.size for place in self._places))
        with device_call(), engine.lock:
            for pair, place in zip(engine.contract.state, self._places, strict=True):
                engine.stream.bring(host.address, self.base(self.side) + place.offset, place.size)
                engine.stream.wait()
                dtype = NUMPY_DTYPES[engine.contract.input(pair.input).dtype]
                array = host.bytes[: place.size].view(dtype).reshape(place.shape)
                found[pair.input] = array[:, :, list(chosen)]
        return found

    def copy_to(self, other: Caches, rows: int) -> None:
        """Copies the first rows of each head to other caches, which may be longer."""
        engine = self._engine
        source, target = self.base(self.side), other.base(other.side)
        with device_call(), engine.lock:
            for place, wider in zip(self._places, other._places, strict=True) if rows else ():
                _, heads, capacity, _ = place.shape
                pitch = place.size // heads  # bytes of one head's rows
                width = pitch // capacity * rows
                engine.stream.copy_rows(
                    target + wider.offset, wider.size // heads, source + place.offset, pitch,
                    width, heads,
                )  # fmt: skip
            engine.stream.wait()
