"""A conversation as model inputs: token ids, and the media they stand for.

The chat template writes one placeholder per picture, sound or clip; here each is repeated
to as many ids as its encoder makes tokens. A clip that is heard as well alternates
between picture and sound every two seconds of clip time. Source: `Qwen2_5OmniProcessor`
of transformers 4.57.6, whose ids are reproduced exactly for well-formed prompts.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import shorten
from omnijet.runtime.media.audio import load_audio, log_mel
from omnijet.runtime.media.image import Grid, image_patches, load_image
from omnijet.runtime.media.video import load_video, second_per_grid, video_patches
from omnijet.runtime.model.audio_plan import audio_token_count
from omnijet.runtime.prompt.chat import render_chat
from omnijet.runtime.prompt.messages import Audio, Image, Message, Text, Video
from omnijet.runtime.prompt.places import clip_layout
from omnijet.runtime.prompt.tokenizer import SPELLINGS, Tokenizer

_log = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A preprocessed picture."""

    patches: Array  # f32[h * w, patch_width]
    grid: Grid  # (1, h, w)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A preprocessed clip, without its sound."""

    patches: Array  # f32[t * h * w, patch_width]
    grid: Grid  # (t, h, w)
    second_per_grid: float  # clip time per temporal step, as the model is told


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the model is given.

    Attributes:
        input_ids: i64[L], placeholders repeated to their full number.
        text: the rendered conversation, one placeholder per picture, sound or clip.
        images, videos: in prompt order.
        audios: f32[n_mels, frames] per sound in prompt order; a clip's sound stands where
            its clip does.
        use_audio_in_video: whether any clip is heard; one without sound is only looked at.
    """

    input_ids: Ids
    text: str
    images: tuple[Picture, ...]
    videos: tuple[Clip, ...]
    audios: tuple[Array, ...]
    use_audio_in_video: bool

    @property
    def mel_lengths(self) -> tuple[int, ...]:
        """Mel frames per sound."""
        return tuple(mel.shape[1] for mel in self.audios)


class Expansion(NamedTuple):
    """What takes one placeholder's place."""

    placeholder: int
    ids: Ids


def build_prompt(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    token_ids: TokenIds,
    preprocessing: Preprocessing,
    *,
    use_audio_in_video: bool,
    chat_template: str,
) -> Prompt:
    """Loads all media and writes the conversation as ids.

    Raises:
        OmnijetError: a medium cannot be used, a text spells out a placeholder, or the
            tokenizer is not the model's.
    """
    tokenizer.check(token_ids)
    _refuse_placeholders(messages, tokenizer, token_ids)
    text = render_chat(messages, chat_template)
    media = _Media(token_ids, preprocessing, use_audio_in_video)
    for number, message in enumerate(messages, start=1):
        for place, part in enumerate(message.parts, start=1):
            if not isinstance(part, Text):
                media.add(part, f"message {number}, part {place} ({_label(part.source)})")
    ids = expand_placeholders(tokenizer.encode(text), media.expansions, token_ids)
    return Prompt(
        ids,
        text,
        tuple(media.images),
        tuple(media.clips),
        tuple(media.mels),
        media.heard_clips > 0,
    )


def interleave_clip(
    grid: Grid, seconds: float, audio_tokens: int, token_ids: TokenIds, merge: int
) -> Ids:
    """The ids between (and with) the inner markers of a clip that is heard:
    audio_bos, then picture and sound by turns of `seconds_per_chunk`, then audio_eos."""
    steps, height, width = grid
    rate = token_ids.position_ids_per_second
    # in double and unrounded, as upstream: positions (tmrope) are rounded, the layout is not
    times = np.arange(steps) * seconds * rate
    cells = (height // merge) * (width // merge)
    heard = clip_layout(times, cells, audio_tokens, rate * token_ids.seconds_per_chunk)
    body = np.where(heard, token_ids.audio, token_ids.video)
    return np.concatenate([[token_ids.audio_bos], body, [token_ids.audio_eos]]).astype(np.int64)


def expand_placeholders(
    ids: Sequence[int], expansions: Sequence[Expansion], token_ids: TokenIds
) -> Ids:
    """Puts each medium's ids in the place of its placeholder: i64[L]."""
    found = np.array(ids, np.int64)
    places = np.flatnonzero(np.isin(found, (token_ids.audio, token_ids.image, token_ids.video)))
    if found[places].tolist() != [expansion.placeholder for expansion in expansions]:
        spelled = {getattr(token_ids, name): text for name, text in SPELLINGS.items()}
        raise OmnijetError(
            "the chat template does not write one placeholder per picture, sound and clip",
            where="chat_template.jinja",
            expected=" ".join(spelled[item.placeholder] for item in expansions) or "none",
            got=" ".join(spelled[int(found[place])] for place in places) or "none",
            fix="use the template published with the checkpoint",
        )
    pieces, done = [], 0
    for place, expansion in zip(places, expansions, strict=True):
        pieces += [found[done:place], expansion.ids]
        done = int(place) + 1
    return np.concatenate([*pieces, found[done:]])


@dataclass(slots=True)
class _Media:
    """A prompt's media, loaded one after the other."""

    token_ids: TokenIds
    preprocessing: Preprocessing
    hear_clips: bool
    images: list[Picture] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    mels: list[Array] = field(default_factory=list)
    expansions: list[Expansion] = field(default_factory=list)
    heard_clips: int = 0

    def add(self, part: Image | Audio | Video, where: str) -> None:
        """Loads and preprocesses one medium; `where` names it in messages."""
        tokens = self.token_ids
        if isinstance(part, Image):
            picture = Picture(
                *image_patches(load_image(part.source, where), self.preprocessing, where)
            )
            self.images.append(picture)
            ids = np.full(self._cells(picture.grid), tokens.image, np.int64)
            self.expansions.append(Expansion(tokens.image, ids))
        elif isinstance(part, Audio):
            seconds = float(self.preprocessing.max_audio_seconds)
            samples = load_audio(part.source, self.preprocessing.sample_rate_hz, seconds, where)
            count = self._hear(samples, where)
            self.expansions.append(Expansion(tokens.audio, np.full(count, tokens.audio, np.int64)))
        else:
            self.expansions.append(Expansion(tokens.video, self._clip(part, where)))

    def _clip(self, part: Video, where: str) -> Ids:
        """Loads a clip; returns the ids between its vision markers."""
        video = load_video(part.source, self.preprocessing, self.hear_clips, where)
        clip = Clip(
            *video_patches(video.frames, self.preprocessing), second_per_grid(self.preprocessing)
        )
        self.clips.append(clip)
        if video.audio is None:
            if self.hear_clips:
                _log.info("%s: the clip has no sound, it is only looked at", where)
            return np.full(self._cells(clip.grid), self.token_ids.video, np.int64)
        self.heard_clips += 1
        count = self._hear(video.audio, where)
        return interleave_clip(
            clip.grid, clip.second_per_grid, count, self.token_ids, self.preprocessing.merge
        )

    def _hear(self, samples: Array, where: str) -> int:
        """Adds a sound; returns its number of tokens."""
        self.mels.append(_mel(samples, self.preprocessing, where))
        return audio_token_count(self.mels[-1].shape[1])

    def _cells(self, grid: Grid) -> int:
        return math.prod(grid) // self.preprocessing.merge**2


def _mel(samples: Array, preprocessing: Preprocessing, where: str) -> Array:
    mel = log_mel(samples, preprocessing)
    if audio_token_count(mel.shape[1]) < 1:
        raise OmnijetError(
            "the sound is too short for a single token",
            where=where,
            expected=f"more than {2 * preprocessing.hop} samples "
            f"at {preprocessing.sample_rate_hz} Hz",
            got=f"{len(samples)} samples",
            fix="leave it out, or pad it with silence",
        )
    return mel


def _refuse_placeholders(
    messages: Sequence[Message], tokenizer: Tokenizer, token_ids: TokenIds
) -> None:
    """A text that spells out a placeholder would take another medium's place."""
    names = ("audio", "image", "video")
    faults = []
    for number, message in enumerate(messages, start=1):
        for place, part in enumerate(message.parts, start=1):
            if isinstance(part, Text) and any(SPELLINGS[name] in part.text for name in names):
                ids = set(tokenizer.encode(part.text))
                faults += [
                    f"message {number}, part {place}: {SPELLINGS[name]}"
                    for name in names
                    if getattr(token_ids, name) in ids
                ]
    if faults:
        raise OmnijetError(
            "a text spells out a placeholder of a picture, sound or clip",
            where="messages",
            got="\n            ".join(faults),
            fix="take it out of the text; media are parts of their own",
        )


def _label(source: object) -> str:
    """A path as it was given; of anything else, its kind."""
    return shorten(source) if isinstance(source, str | os.PathLike) else type(source).__name__
