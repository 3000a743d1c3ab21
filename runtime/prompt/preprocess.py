"""A part of a message becomes what the encoders read: opened, decoded and resized once."""

from __future__ import annotations

import logging
import os

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, audio_token_count
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import shorten
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.media.image import Grid, image_patches, load_image
from omnijet.runtime.media.log_mel import GrowingSound, log_mel
from omnijet.runtime.media.video import load_video, second_per_grid, video_patches
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
) -> Medium:
    """Returns what a part was preprocessed into; reads its source at the first call only.

    A source that is an array or a picture in memory is let go of then. A clip that was only
    looked at is read again once it is to be heard, too.

    Args:
        hear_clips: whether the sound of clips is wanted.
        place: the part in the conversation, for messages.

    Raises:
        OmnijetError: the medium cannot be used.
    """
    kept = part.medium
    if kept is not None and not (isinstance(part, Video) and hear_clips and not part.is_heard):
        return _silenced(kept) if isinstance(part, Video) and not hear_clips else kept
    where = f"{place} ({_label(part.source)})"
    if isinstance(part, Image):
        medium = _picture(part, preprocessing, where)
    elif isinstance(part, Audio):
        medium = _sound(part, preprocessing, dims, where)
    else:
        medium = _clip(part, preprocessing, dims, hear_clips, where)
        part.is_heard = hear_clips
    part.medium = medium
    if not isinstance(part.source, str | os.PathLike):
        part.source = None
        if isinstance(part, Video):
            part.is_heard = True  # frames in memory have no sound
    return medium


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


def _picture(part: Image, preprocessing: Preprocessing, where: str) -> Medium:
    assert part.source is not None
    patches, grid = image_patches(load_image(part.source, where), preprocessing, where)
    seen = picture_input(patches, grid, preprocessing.merge)
    return Medium(MediumShape(_cells(grid, preprocessing.merge)), seen)


def _sound(part: Audio, preprocessing: Preprocessing, dims: AudioEncoderDims, where: str) -> Medium:
    assert part.source is not None
    seconds = float(preprocessing.max_audio_seconds)
    samples = load_audio(part.source, preprocessing.sample_rate_hz, seconds, where)
    return sound_medium(_mel(samples, preprocessing, where), dims)


def _clip(
    part: Video, preprocessing: Preprocessing, dims: AudioEncoderDims, hear: bool, where: str
) -> Medium:
    assert part.source is not None
    video = load_video(part.source, preprocessing, hear, where)
    patches, grid = video_patches(video.frames, preprocessing)
    heard: EncoderInput | None = None
    if video.audio is not None:
        heard = sound_input(_mel(video.audio, preprocessing, where), dims)
    elif hear:
        _log.info("%s: the clip has no sound, it is only looked at", where)
    shape = MediumShape(
        _cells(grid, preprocessing.merge),
        second_per_grid(preprocessing),
        0 if heard is None else heard.fingerprints.size,
    )
    return Medium(shape, picture_input(patches, grid, preprocessing.merge), heard)


def _silenced(clip: Medium) -> Medium:
    """The same clip, only looked at."""
    if clip.heard is None:
        return clip
    shape = MediumShape(clip.shape.grid, clip.shape.second_per_step)
    return Medium(shape, clip.seen)


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


def _label(source: object) -> str:
    """Names a source: a path as it was given, of anything else its kind."""
    return shorten(source) if isinstance(source, str | os.PathLike) else type(source).__name__
