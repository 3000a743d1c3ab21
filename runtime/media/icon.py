"""The sizes of the pictures inside an icon file, which Pillow decodes as it opens one."""

from __future__ import annotations

import struct
from typing import BinaryIO

MAGIC = b"\x00\x00\x01\x00"
_PNG = b"\x89PNG"


def sizes_of(file: BinaryIO) -> list[tuple[int, int]]:
    """Returns the size (width, height) of each; none if the file is no icon.

    The icon's own list is not believed. The file is left at its start.
    """
    file.seek(0)
    head = file.read(6)
    count = int.from_bytes(head[4:6], "little") if head[:4] == MAGIC else 0
    listed = file.read(16 * count)
    sizes = []
    for place in range(0, len(listed) - 15, 16):
        file.seek(int.from_bytes(listed[place + 12 : place + 16], "little"))
        sizes.append(_size(file.read(24).ljust(24, b"\0")))
    file.seek(0)
    return sizes


def _size(head: bytes) -> tuple[int, int]:
    if head.startswith(_PNG):
        width, height = struct.unpack(">II", head[16:24])
    else:  # a bitmap without the header of a file
        width, height = struct.unpack("<ii", head[4:12])
    return abs(width), abs(height)
