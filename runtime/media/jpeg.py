"""What a JPEG's markers say of the memory and time that decoding it takes."""

from __future__ import annotations

import struct
from typing import BinaryIO

START_OF_SCAN = b"\xff\xda"
PIECE_BYTES = 1 << 20


def scans_of(file: BinaryIO) -> tuple[int, bool]:
    """Returns how many scans there are at most, and whether the first has all colours.

    If it has not, or if the JPEG is progressive, decoding holds all coefficients at once. The
    file is left at its start.
    """
    file.seek(0)
    colours, in_scan = 0, 0
    place = 2
    while True:  # the segments before the first scan, which may hold small JPEGs of their own
        file.seek(place)
        head = file.read(5)
        if len(head) < 5 or head[0] != 0xFF:
            file.seek(0)
            return 0, False
        if head[1] == 0xFF:  # filling
            place += 1
            continue
        if head[1] == START_OF_SCAN[1]:
            in_scan = head[4]
            break
        length = int(struct.unpack(">H", head[2:4])[0])
        if 0xC0 <= head[1] <= 0xCF and head[1] not in (0xC4, 0xC8, 0xCC):
            file.seek(place + 9)
            colours = (file.read(1) or b"\0")[0]
        place += 2 + max(length, 2)
    file.seek(place)
    count, before = 0, b""
    while piece := file.read(PIECE_BYTES):  # in the data of a scan, 0xff is followed by 0
        count += (before + piece).count(START_OF_SCAN)
        before = piece[-1:]
    file.seek(0)
    return count, in_scan == colours
