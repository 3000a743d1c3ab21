"""Packets of one track, past whatever else a container holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.stream import Stream

from omnijet.runtime.cancel import Check

CHECK_EVERY = 256  # packets


def packets_of(
    container: av.container.InputContainer, stream: Stream, check: Check
) -> Iterator[av.Packet[Any]]:
    """Yields the packets of a track; the last is empty and ends the decoder.

    Raises:
        FFmpegError: the container is damaged.
    """
    read = 0
    while True:
        try:
            for packet in container.demux(stream):
                read += 1
                if read % CHECK_EVERY == 0:
                    check()
                yield packet
            return
        except IndexError:
            check()  # PyAV knows no track that begins after the header; the next packet is read
