"""The sound of a clip, laid where its timestamps say, beside the picture.

The model hears and sees a clip on one time axis that begins with the first frame. Sound from
before it is cut, silence is put where there is none, and what overlaps is heard once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.clip_times import LARGEST_STEP_BACK, LONGEST_STILL
from omnijet.runtime.media.container import container_of, reason, restrict
from omnijet.runtime.media.mono import MonoSound, require_rate
from omnijet.runtime.media.packets import packets_of
from omnijet.runtime.media.sizing import Sizing

_log = logging.getLogger(__name__)

# One token of sound, the finest step of the model's positions. What containers round, and what
# codecs add in front, is less: regular tracks are heard sample by sample as they are.
JITTER_SECONDS = 0.04
MARGIN_SECONDS = 1.0  # read beyond the limit, so that the resampler's end effects lie outside
MOST_TRACKS = 8  # that are tried, each of which is read to its end
REORDERED = 32  # packets among which the first picture is found


def read_clip_sound(
    source: Path | bytes, preprocessing: Preprocessing, sizing: Sizing, where: object, check: Check
) -> Array | None:
    """Reads the sound of a clip: f32[samples] at the model's rate.

    Nothing is refused for its sound: if no track can be heard, a warning says why.

    Returns:
        None if there is no track, or none that can be heard.

    Raises:
        FFmpegError, OSError: the clip cannot be opened.
    """
    with container_of(source) as container:
        tracks = min(len(container.streams.audio), MOST_TRACKS)
        origin = _origin(container, check)
    faults: list[str] = []
    for track in range(tracks):
        try:
            heard = _read_track(source, track, origin, preprocessing, sizing, where, check)
        except OmnijetError as error:
            faults.append(f"{error.what}, {error.got}")
        except (av.FFmpegError, OSError, ValueError) as error:
            faults.append(reason(error) if str(error) else "unknown codec")
        else:
            return heard
    if faults:
        _log.warning("%s: the clip is only looked at, its sound is unusable: %s", where, faults[0])
    return None


@dataclass(slots=True)
class Layout:
    """Puts pieces of sound in their places, one after the other.

    Attributes:
        rate_hz: samples per second.
        place: samples that were laid, counted from the first frame on.
        heard: those of them that were not filled in.
        shift: seconds that are added to timestamps since they last jumped.
        ends: where the last piece ended by its timestamp, in seconds; None before the first.
    """

    rate_hz: float
    place: int = 0
    heard: int = 0
    shift: float = 0.0
    ends: float | None = None

    def lay(self, start: float | None, samples: Array) -> Iterator[Array]:
        """Yields silence up to the piece, and what is not yet covered of it.

        Args:
            start: seconds from the first frame; None to go on where the last piece ended.
        """
        if start is not None:
            whole = len(samples)
            samples, silence = self._moved(start, samples)
            while silence > 0:  # a damaged timestamp may ask for hours
                piece = min(silence, int(self.rate_hz) + 1)
                silence -= piece
                self.place += piece
                yield np.zeros(piece, np.float32)
            self.ends = start + self.shift + whole / self.rate_hz
        self.place += len(samples)
        self.heard += len(samples)
        yield samples

    def _moved(self, start: float, samples: Array) -> tuple[Array, int]:
        """Returns what is not yet covered, and how much silence comes before it."""
        begins = start + self.shift
        if self.ends is not None and not (
            -LARGEST_STEP_BACK <= begins - self.ends <= LONGEST_STILL
        ):
            # another piece begins, with timestamps of its own
            self.shift += self.ends - begins
            begins = self.ends
        early = self.place - round(begins * self.rate_hz)
        if abs(early) <= JITTER_SECONDS * self.rate_hz:
            return samples, 0
        return (samples[early:], 0) if early > 0 else (samples, -early)


@dataclass(slots=True)
class _Track:
    """A sound track that is decoded.

    Attributes:
        rate_hz: of the first frame. HE-AAC announces half its rate, so the header's is not used.
        damage: what went wrong, and how often.
    """

    container: av.container.InputContainer
    stream: av.AudioStream
    check: Check
    rate_hz: int = 0
    damage: dict[str, int] = field(default_factory=dict)

    def pieces(self) -> Iterator[tuple[float | None, Array]]:
        """Yields when each decoded frame begins, in seconds, and its samples as one channel."""
        planar: av.AudioResampler | None = None
        like: tuple[object, ...] = ()
        for frame in self._frames():
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if planar is None or kind != like:
                self.rate_hz = self.rate_hz or frame.sample_rate
                planar, like = av.AudioResampler(format="fltp", rate=self.rate_hz), kind
            tick = float(frame.time_base or 0)
            start = None if frame.pts is None or not tick else frame.pts * tick
            for made in planar.resample(frame):
                yield start, self._one_channel(made)
                start = None
        if planar is not None:
            for made in planar.resample(None):
                yield None, self._one_channel(made)

    def _one_channel(self, frame: av.AudioFrame) -> Array:
        samples = frame.to_ndarray().T
        mono: Array = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1, np.float32)
        finite = np.isfinite(mono)
        if finite.all():
            return mono
        self._note(ValueError("samples that are no numbers"))
        return np.where(finite, mono, np.float32(0))

    def _frames(self) -> Iterator[av.AudioFrame]:
        try:
            for packet in packets_of(self.container, self.stream, self.check):
                self.check()
                try:
                    for frame in packet.decode():
                        if isinstance(frame, av.AudioFrame) and frame.samples:
                            yield frame
                except av.FFmpegError as error:
                    self._note(error)
        except av.FFmpegError as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        words = reason(error)
        self.damage[words] = self.damage.get(words, 0) + 1


def _read_track(
    source: Path | bytes,
    track: int,
    origin: float,
    preprocessing: Preprocessing,
    sizing: Sizing,
    where: object,
    check: Check,
) -> Array:
    """Raises `ValueError` or `FFmpegError` if nothing can be heard of the track."""
    limit = float(preprocessing.max_audio_seconds)
    with container_of(source) as container:
        stream = container.streams.audio[track]
        restrict(stream.codec_context, source)
        decoded = _Track(container, stream, check)
        pieces = decoded.pieces()
        first = next(pieces, None)
        if first is None:
            raise ValueError(next(iter(decoded.damage), "it has no samples"))
        require_rate(decoded.rate_hz, where)
        layout = Layout(decoded.rate_hz)
        laid = (
            block
            for start, samples in chain([first], pieces)
            for block in layout.lay(None if start is None else start - origin, samples)
        )
        sound = MonoSound(decoded.rate_hz, preprocessing.sample_rate_hz, limit + MARGIN_SECONDS)
        sound.fill(block[:, None] for block in _stretch(laid, decoded.rate_hz, sizing))
    if not layout.heard:
        raise ValueError("it begins too late, or ends before the picture begins")
    made = sound.samples(where)
    if decoded.damage:
        words, times = next(iter(decoded.damage.items()))
        _log.warning(
            "%s: the clip's sound is damaged, what is missing is silent (%s, %d times)",
            where, words, times,
        )  # fmt: skip
    if len(made) > preprocessing.max_samples:
        _log.warning("%s: only the first %g s of the sound are heard", where, limit)
    return np.ascontiguousarray(made[: preprocessing.max_samples])


def _stretch(blocks: Iterable[Array], rate_hz: float, sizing: Sizing) -> Iterator[Array]:
    """Yields the part of a sound that belongs to the stretch that is wanted of the clip."""
    begin, end = sizing.video_start or 0.0, sizing.video_end
    first = round(rate_hz * begin)
    stop = None if end is None else first + round(rate_hz * (end - begin))
    place = 0
    for block in blocks:
        if stop is not None and place >= stop:
            return
        kept = block[max(first - place, 0) : None if stop is None else stop - place]
        place += len(block)
        if len(kept):
            yield kept


def _origin(container: av.container.InputContainer, check: Check) -> float:
    """Returns when the first frame is shown, in seconds by its timestamp."""
    if not container.streams.video:
        return 0.0
    stream = container.streams.video[0]
    tick = float(stream.time_base or 0)
    try:
        begin = list(islice(packets_of(container, stream, check), REORDERED))
    except av.FFmpegError:
        return 0.0
    shown = [
        stamp * tick
        for packet in begin
        if packet.size and not packet.is_discard
        for stamp in [packet.dts if packet.pts is None else packet.pts]
        if stamp is not None
    ]
    return min(shown, default=0.0)
