"""Reads the fields of protobuf messages one by one, without a package for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
MOST_BITS = 64


class BadMessage(ValueError):
    """Bytes that are no message; its text is one phrase."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: the field's number in the `.proto` file.
        wire: VARINT, FIXED64, BYTES or FIXED32.
        value: the number of a VARINT; otherwise where the content begins.
        end: where the content ends, which is where the next field begins.
    """

    number: int
    wire: int
    value: int
    end: int


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Yields the fields of the message in `data[start:end]` in their order.

    Raises:
        BadMessage: the bytes are no message.
    """
    place = start
    while place < end:
        tag, place = varint(data, place, end)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = varint(data, place, end)
            yield Field(number, wire, value, place)
            continue
        if wire == BYTES:
            size, place = varint(data, place, end)
        elif wire in FIXED:
            size = FIXED[wire]
        else:  # groups, which no file of ONNX has
            raise BadMessage(f"a field of unknown kind {wire} at byte {place}")
        if size > end - place:
            raise BadMessage(f"a field at byte {place} goes on behind the end of its message")
        yield Field(number, wire, place, place + size)
        place += size


def varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """Returns a number and the place behind it.

    Raises:
        BadMessage: the number is cut off, or has more than 64 bits.
    """
    value = shift = 0
    while place < end:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> MOST_BITS:
                break
            return value, place
        shift += 7
        if shift >= MOST_BITS + 6:
            break
    raise BadMessage(f"a number at byte {place} has no end")


def signed(value: int) -> int:
    """Returns a varint as the int64 that it stands for."""
    return value - (1 << MOST_BITS) if value >> (MOST_BITS - 1) else value
