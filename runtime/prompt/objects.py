"""Objects of a client's request, checked: a fault names the place and what was expected there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shorten
from omnijet.runtime.files.printable import printable


def object_of(
    value: Any, where: str, known: tuple[str, ...], needed: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """Returns an object that has no unknown key and lacks none that is needed.

    Raises:
        OmnijetError: it is not such an object.
    """
    if not isinstance(value, Mapping):
        raise unusable(where, "an object", value)
    for key in value:
        if key not in known:
            place = f"{where}.{key}"
            raise OmnijetError(
                f"{printable(shorten(place))} is unknown", where=where,
                expected=" or ".join(known),
            )  # fmt: skip
    for key in needed:
        if key not in value:
            raise OmnijetError(f"{where}.{key} is missing", where=where)
    return value


def unusable(where: str, expected: str, got: Any = None, fault: str | None = None) -> OmnijetError:
    """Returns the error about a value.

    Args:
        got: the value.
        fault: what is wrong with it, in place of the value.
    """
    return OmnijetError(
        f"{where} is unusable",
        where=where,
        expected=expected,
        got=printable(shorten(repr(got) if fault is None else fault)),
    )
