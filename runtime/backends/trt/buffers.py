"""Host arrays and their buffers on the device; only what was asked for is moved.

All inputs of a graph lie in one block, all outputs in another, in the order of the contract:
tensors next to each other are moved in one copy. A decode step has one copy each way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from omnijet.runtime.backends.on_demand import OnDemand
from omnijet.runtime.backends.trt.device import Device, Stream
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, TensorSpec

ALIGNMENT = 256  # bytes: TensorRT wants every tensor at a multiple of it


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in its block: offset and size in bytes."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int


def lay_out(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> tuple[list[Place], int]:
    """Returns a place for each tensor, one after another, and the bytes of all."""
    places, end = [], 0
    for spec in specs:
        shape = spec.shape(sizes)
        size = prod(shape) * NUMPY_DTYPES[spec.dtype].itemsize
        places.append(Place(spec.name, shape, end, size))
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return places, end


class Block:
    """Tensors side by side, on the host and on the device.

    A set of tensors is a number, in which every tensor has a bit of its own.

    Attributes:
        addresses: device addresses by name.
        bits: each tensor's bit by name.
    """

    def __init__(
        self, device: Device, specs: Sequence[TensorSpec], sizes: Mapping[str, int]
    ) -> None:
        places, size = lay_out(specs, sizes)
        self._places = places
        self._dtypes = {spec.name: NUMPY_DTYPES[spec.dtype] for spec in specs}
        self._host = device.host_memory(size)
        mapped = self._host.device_address
        self._device = None if mapped is not None else device.memory(size)
        base = mapped if self._device is None else self._device.address
        assert base is not None
        self._base = base
        self.addresses = {place.name: base + place.offset for place in places}
        self.bits = {place.name: 1 << number for number, place in enumerate(places)}
        self._spans: dict[int, list[tuple[int, int]]] = {0: []}

    def arrays(self, user: object) -> dict[str, Array]:
        """Returns the host arrays by name. Each array, and every slice of it, keeps `user`
        alive.
        """
        lent = self._host.lent(user)
        return {
            place.name: lent[place.offset : place.offset + place.size]
            .view(self._dtypes[place.name])
            .reshape(place.shape)
            for place in self._places
        }

    def clear(self) -> None:
        """Fills the host arrays with zeros."""
        self._host.bytes[:] = 0

    def send(self, chosen: int, stream: Stream) -> None:
        """Copies a set of tensors from the host to the device."""
        if self._device is not None:
            for offset, size in self._spans_of(chosen):
                stream.send(self._base + offset, self._host.address + offset, size)

    def bring(self, chosen: int, stream: Stream) -> None:
        """Copies a set of tensors from the device to the host."""
        if self._device is not None:
            for offset, size in self._spans_of(chosen):
                stream.bring(self._host.address + offset, self._base + offset, size)

    def _spans_of(self, chosen: int) -> list[tuple[int, int]]:
        """Returns (offset, bytes) of each group of neighbours in a set."""
        spans = self._spans.get(chosen)
        if spans is None:
            spans = self._spans[chosen] = []
            before = 0
            for place in self._places:
                bit = self.bits[place.name] & chosen
                if bit and before and spans:
                    start, _ = spans[-1]
                    spans[-1] = (start, place.offset + place.size - start)
                elif bit:
                    spans.append((place.offset, place.size))
                before = bit
        return spans


class Inputs(OnDemand):
    """Host arrays of a block, lent to `user`; those taken since the last run have to be sent.

    Attributes:
        touched: the set of tensors that have to be sent; all of them at first.
    """

    def __init__(self, block: Block, user: object) -> None:
        self._arrays, self._bits = block.arrays(user), block.bits
        super().__init__(self._arrays)
        self.touched = sum(block.bits.values())

    def __getitem__(self, name: str) -> Array:
        self.touched |= self._bits[name]
        return self._arrays[name]


class Outputs(OnDemand):
    """Host arrays of a block, lent to `user`, brought from the device when they are taken.

    Attributes:
        taken: the set of tensors taken since the last run. The next run brings them along: what
            was wanted once is wanted again, and a copy of its own would cost a second wait.
        here: the set of tensors whose host arrays hold what the last run gave.
    """

    def __init__(self, block: Block, user: object, fetch: Callable[[int], None]) -> None:
        self._arrays, self._bits, self._fetch = block.arrays(user), block.bits, fetch
        super().__init__(self._arrays)
        self.taken = 0
        self.here = sum(block.bits.values())  # before the first run they are zeros

    def __getitem__(self, name: str) -> Array:
        bit = self._bits[name]
        self.taken |= bit
        if not self.here & bit:
            self._fetch(bit)
            self.here |= bit
        return self._arrays[name]
