"""The picture track of a file that FFmpeg reads: its timestamps, and its frames one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from omnijet.runtime.cancel import Check
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.clip_times import Mark, Stamps, stamps_of
from omnijet.runtime.media.container import (
    MAX_FRAME_PIXELS,
    container_of,
    most_frame_pixels,
    reason,
    restrict,
)
from omnijet.runtime.media.packets import packets_of

THREADED_PIXELS = 1 << 24  # each thread of a decoder holds a frame more
MOST_PACKETS = 10_000_000  # 46 hours at 60 frames a second


@dataclass(slots=True)
class Film:
    """A clip's first picture track. Errors of FFmpeg pass through, unless some frames decode.

    Attributes:
        damage: what went wrong when frames or packets were read, without repetition.
    """

    source: Path | bytes
    where: object
    check: Check
    damage: dict[str, int] = field(default_factory=dict)

    def stamps(self) -> Stamps:
        """Reads the timestamps, without decoding.

        Raises:
            ValueError: there is no picture track, no frame, or neither times nor a rate.
            OmnijetError: a frame is larger than can be decoded here.
        """
        with container_of(self.source) as container:
            if not container.streams.video:
                raise ValueError("it has no picture track")
            stream = container.streams.video[0]
            context = stream.codec_context
            restrict(context, self.source)
            require_frame_size(
                context.width, context.height, self.where, most_frame_pixels(self.source)
            )
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            tick = float(stream.time_base or 0)
            marks = [
                Mark(_seconds(packet.pts, tick), _seconds(packet.dts, tick), _lasts(packet, tick))
                for packet in self._packets(container, stream)
                if packet.size and not packet.is_discard
            ]
        if not marks:
            raise ValueError("it has no frame")
        return stamps_of(marks, tick, fps if fps > 0 else None)

    def frames(self) -> Iterator[tuple[Mark, Callable[[], Image.Image]]]:
        """Decodes the frames in the order of display; what is damaged is passed over."""
        self.damage.clear()
        with container_of(self.source) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            restrict(context, self.source)
            context.thread_type = "AUTO"
            if context.width * context.height > THREADED_PIXELS:
                context.thread_count = 1
            for packet in self._packets(container, stream):
                for frame in self._decoded(packet):
                    self.check()
                    tick = float(frame.time_base or 0)
                    shown = _seconds(frame.pts, tick)
                    yield Mark(shown, shown, (frame.duration or 0) * tick), partial(upright, frame)

    def _packets(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.Packet[av.VideoStream]]:
        read = 0
        try:
            for packet in packets_of(container, stream, self.check):
                read += 1
                if read > MOST_PACKETS:
                    raise ValueError(f"it has more than {MOST_PACKETS:,} frames")
                yield packet
        except av.FFmpegError as error:
            if not read:
                raise
            self._note(error)

    def _decoded(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        try:
            return list(packet.decode())
        except av.FFmpegError as error:
            self._note(error)
            return []

    def _note(self, error: Exception) -> None:
        words = reason(error)
        if isinstance(error, av.error.ArgumentError):
            most = most_frame_pixels(self.source)
            words += f"; it is damaged, or its frames have more than {most:,} pixels"
        self.damage[words] = self.damage.get(words, 0) + 1


def require_frame_size(
    width: int, height: int, where: object, most: int = MAX_FRAME_PIXELS
) -> None:
    """Raises `OmnijetError` if frames are too large to be decoded in 2 GB, or for their bytes."""
    if width * height > most:
        raise OmnijetError(
            "the clip's picture is too large to be decoded",
            where=where,
            expected=f"at most {most:,} pixels a frame in a file of its size",
            got=f"{width} x {height} pixels",
            fix="make it smaller, for example: ffmpeg -i FILE -vf scale=1920:-2 out.mp4",
        )


def upright(frame: av.VideoFrame) -> Image.Image:
    """Returns a frame as RGB: phones store rotated clips with the angle beside."""
    pixels: npt.NDArray[np.uint8] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    turns = round(frame.rotation / 90) % 4
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels)


def _seconds(stamp: int | None, tick: float) -> float | None:
    return None if stamp is None else stamp * tick


def _lasts(packet: av.Packet[av.VideoStream], tick: float) -> float:
    return (packet.duration or 0) * tick
