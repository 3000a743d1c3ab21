"""Arrays by name that a device moves when they are taken, and only then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omnijet.runtime.bundle.contract import Array


class OnDemand(Mapping[str, Array]):
    """`Bound.inputs` or `Bound.outputs` on a device. Subclasses define `__getitem__`, which notes
    or moves the array that is taken.

    Asking whether there is an array, or for all names, moves nothing.

    Args:
        names: the arrays' names, as the keys of any mapping.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
