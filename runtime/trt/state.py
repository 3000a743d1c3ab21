"""KV caches on the device, updated in place or from one buffer to another."""

from __future__ import annotations

from threading import Lock

from runtime.contract import GraphContract
from runtime.errors import OmnijetError
from runtime.trt.buffers import lay_out
from runtime.trt.device import Device, Stream


class EngineState:
    """All carried tensors of one sequence, at an engine's one capacity.

    Zeros, never garbage: a masked key still multiplies its value by zero.

    Args:
        stream, lock: of the engine, whose work on them comes in order.
        in_place: False gives every cache two buffers: an engine reads one and writes the
            other, and the next run the other way round.

    Attributes:
        turn: which buffer the next run reads.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        lock: Lock,
        contract: GraphContract,
        capacity: int,
        in_place: bool,
    ) -> None:
        self.capacity = capacity
        self._device, self._stream, self._lock = device, stream, lock
        self._contract, self._in_place = contract, in_place
        specs = [contract.input(pair.input) for pair in contract.state]
        self._places, size = lay_out(specs, {"capacity": capacity})
        self._buffers = [device.memory(size) for _ in range(1 if in_place else 2)]
        self.turn = 0
        with lock:
            for buffer in self._buffers:
                stream.zero(buffer)
            stream.wait()

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
        for pair, place in zip(self._contract.state, self._places, strict=True):
            found[pair.input] = read + place.offset
            found[pair.output] = written + place.offset
        return found

    def advance(self) -> None:
        """After a run."""
        if len(self._buffers) > 1:
            self.turn ^= 1

    def grow(self, capacity: int, filled: int) -> None:
        """An engine has one capacity, and its caches have it from the start."""
        if capacity > self.capacity:
            raise OmnijetError(
                "the KV cache of an engine cannot grow",
                where=self._contract.name,
                expected=f"at most {self.capacity} rows",
                got=f"{capacity} rows",
                fix="build the engines with a larger capacity",
            )

    def copy(self, filled: int) -> EngineState:
        twin = EngineState(
            self._device, self._stream, self._lock, self._contract, self.capacity, self._in_place
        )
        found, to = self._buffers[self.turn].address, twin._buffers[0].address
        with self._lock:
            for place in self._places if filled else ():
                _, heads, capacity, _ = place.shape
                pitch = place.size // heads  # bytes of one head's rows
                width = pitch // capacity * filled
                self._stream.copy_rows(to + place.offset, found + place.offset, pitch, width, heads)
            self._stream.wait()
        return twin
