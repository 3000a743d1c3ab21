"""A part of a message becomes what the encoders read: opened, decoded and resized once."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, audio_token_count
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.audio import AudioSource, load_audio
from omnijet.runtime.media.clip_frames import Report
from omnijet.runtime.media.image import Frames, Grid, ImageSource, image_frame, load_image
from omnijet.runtime.media.log_mel import GrowingSound, log_mel
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, Ceiling, Sizing
from omnijet.runtime.media.source import Source, is_file, is_held, named
from omnijet.runtime.media.video import (
    VideoSource,
    load_clip_sound,
    load_video,
    second_per_grid,
)
from omnijet.runtime.prompt.medium import EncoderInput, Medium, picture_input, sound_input
from omnijet.runtime.prompt.messages import Audio, Image, Video
from omnijet.runtime.prompt.places import MediumShape

_log = logging.getLogger(__name__)


def medium_of(
    part: Image | Audio | Video,
    preprocessing: Preprocessing,
    dims: AudioEncoderDims,
    hear_clips: bool,
    place: str,
    check: Check = never,
    report: Report | None = None,
    wishes: Sizing = AS_THE_MODEL_HAS_IT,
    ceiling: Ceiling | None = None,
) -> Medium:
    """Returns what a part was preprocessed into; reads its source at the first call only.

    A source that is in memory, or that can be read only once, is let go of then; of such a clip,
    the sound is read at once. Of a file that was only looked at, it is read once it is wanted; if
    the file is gone, nothing is heard of it.

    Args:
        hear_clips: whether the sound of clips is wanted.
        place: the part in the conversation, for messages.
        check: called between the pieces that media are read in; it may raise to cancel.
        report: called with the frames of a clip that were read, and how many will be.
        wishes: about the size of pictures and clips; those of the part itself go before.
        ceiling: what the machine takes; what is larger is made to fit, with a warning.

    Raises:
        OmnijetError: the medium cannot be used.
    """
    # forks share parts: another thread may set the medium, and then let go of the source
    source: Any = part.source
    medium = part.medium
    where = f"{place} ({named(source)})"
    if medium is None:
        if isinstance(part, Image):
            sizing = part.sizing.over(wishes)
            medium = _picture(source, preprocessing, where, check, sizing, ceiling)
        elif isinstance(part, Audio):
            medium = _sound(source, part.raw, preprocessing, dims, where, check)
        else:
            sizing = part.sizing.over(wishes)
            medium = _clip(
                source, preprocessing, dims, hear_clips, where, check, report, sizing, ceiling
            )
    elif isinstance(part, Video) and hear_clips and not medium.sound_was_read:
        medium = _heard_later(medium, source, preprocessing, dims, where, check, part.sizing)
    part.medium = medium
    if is_held(source):
        part.source = None
    return _silenced(medium) if isinstance(part, Video) and not hear_clips else medium


def sound_medium(mel: Array, dims: AudioEncoderDims) -> Medium:
    """Makes a medium of a log-mel f32[n_mels, frames]."""
    heard = sound_input(mel, dims)
    return Medium(MediumShape(sound_tokens=heard.fingerprints.size), heard=heard)


def grown_medium(
    sound: GrowingSound, preprocessing: Preprocessing, dims: AudioEncoderDims
) -> Medium:
    """Makes a medium of a sound that came piece by piece and ends here.

    Raises:
        OmnijetError: it is too short for a token.
    """
    mel = sound.whole_mel()
    _require_token(mel, sound.samples, preprocessing, "what was fed as sound")
    return sound_medium(mel, dims)


def _picture(
    source: ImageSource,
    preprocessing: Preprocessing,
    where: str,
    check: Check,
    sizing: Sizing,
    ceiling: Ceiling | None,
) -> Medium:
    check()
    image = load_image(source, where, check)
    frame = image_frame(image, preprocessing, where, sizing, ceiling)
    check()
    return Medium(*_seen(frame, preprocessing))


def _sound(
    source: AudioSource,
    raw: RawFormat | None,
    preprocessing: Preprocessing,
    dims: AudioEncoderDims,
    where: str,
    check: Check,
) -> Medium:
    check()
    seconds = float(preprocessing.max_audio_seconds)
    samples = load_audio(source, preprocessing.sample_rate_hz, seconds, where, raw, check)
    check()
    return sound_medium(_mel(samples, preprocessing, where), dims)


def _clip(
    source: VideoSource,
    preprocessing: Preprocessing,
    dims: AudioEncoderDims,
    hear: bool,
    where: str,
    check: Check,
    report: Report | None,
    sizing: Sizing,
    ceiling: Ceiling | None,
) -> Medium:
    check()
    # bytes are not kept until their sound may be wanted, and a pipe gives them only once
    read = hear or is_held(source)
    video = load_video(source, preprocessing, read, where, sizing, check, report, ceiling)
    if hear and video.audio is None:
        _log.info("%s: nothing is heard of the clip, it is only looked at", where)
    check()
    clip = Medium(*_seen(video.frames, preprocessing, second_per_grid(preprocessing)))
    if read:
        return _with_sound(clip, video.audio, preprocessing, dims, where, check)
    return clip


def _heard_later(
    clip: Medium,
    source: Source,
    preprocessing: Preprocessing,
    dims: AudioEncoderDims,
    where: str,
    check: Check,
    sizing: Sizing,
) -> Medium:
    """The same clip with its sound, if its file is still there."""
    check()
    samples: Array | None = None
    if is_file(source):
        samples = load_clip_sound(source, preprocessing, where, sizing, check)
    else:
        _log.warning("%s: the file is gone before its sound was read: nothing is heard", where)
    return _with_sound(clip, samples, preprocessing, dims, where, check)


def _with_sound(
    clip: Medium,
    samples: Array | None,
    preprocessing: Preprocessing,
    dims: AudioEncoderDims,
    where: str,
    check: Check,
) -> Medium:
    if samples is None:
        return replace(clip, sound_was_read=True)
    check()
    mel = log_mel(samples, preprocessing)
    if audio_token_count(mel.shape[1]) < 1:
        _log.warning(
            "%s: the clip is only looked at, its sound of %d samples is too short", where,
            len(samples),
        )  # fmt: skip
        return replace(clip, sound_was_read=True)
    heard = sound_input(mel, dims)
    shape = replace(clip.shape, sound_tokens=heard.fingerprints.size)
    return replace(clip, shape=shape, heard=heard, sound_was_read=True)


def _silenced(clip: Medium) -> Medium:
    """The same clip, only looked at."""
    if clip.heard is None:
        return clip
    return replace(clip, shape=replace(clip.shape, sound_tokens=0), heard=None)


def _seen(
    frames: Frames, preprocessing: Preprocessing, seconds: float | None = None
) -> tuple[MediumShape, EncoderInput]:
    """Returns the tokens of a picture or clip, and what the vision encoder reads."""
    seen = picture_input(frames, preprocessing)
    assert seen.grid is not None
    return MediumShape(_cells(seen.grid, preprocessing.merge), seconds), seen


def _cells(grid: Grid, merge: int) -> tuple[int, int, int]:
    steps, height, width = grid
    return steps, height // merge, width // merge


def _mel(samples: Array, preprocessing: Preprocessing, where: str) -> Array:
    mel = log_mel(samples, preprocessing)
    _require_token(mel, samples, preprocessing, where)
    return mel


def _require_token(mel: Array, samples: Array, preprocessing: Preprocessing, where: str) -> None:
    if audio_token_count(mel.shape[1]) < 1:
        raise OmnijetError(
            "the sound is too short for a single token",
            where=where,
            expected=f"more than {2 * preprocessing.hop} samples at "
            f"{preprocessing.sample_rate_hz} Hz",
            got=f"{len(samples)} samples",
            fix="leave it out, or pad it with silence",
        )
