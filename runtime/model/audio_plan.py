"""Cuts mel frames into the audio encoder's chunks.

The encoder works on independent chunks of 2 s (`n_window` of the checkpoint). The sounds of
one call share a batch of chunks, and a long sound can take several calls.
Source: `Qwen2_5OmniAudioEncoder.forward` of transformers 4.57.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import (
    AUDIO_POOL,
    AudioEncoderDims,
    audio_positions,
    audio_token_count,
)
from omnijet.runtime.errors import OmnijetError


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of one sound that the encoder processes independently."""

    sound: int
    start: int  # first mel frame, within the sound
    frames: int

    @property
    def positions(self) -> int:
        """Encoder positions after the stride-2 convolution."""
        return audio_positions(self.frames)

    @property
    def tokens(self) -> int:
        return self.positions // AUDIO_POOL


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """The chunks of a list of sounds, in order."""

    dims: AudioEncoderDims
    lengths: tuple[int, ...]  # mel frames per sound
    chunks: tuple[Chunk, ...]

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Tokens per sound."""
        return tuple(audio_token_count(length) for length in self.lengths)

    def batches(
        self, mels: Array | Sequence[Array], max_chunks: int | None = None
    ) -> Iterator[dict[str, Array]]:
        """Yields the inputs of each `audio_encoder` call; the features of all calls concatenate.

        Args:
            mels: f32[n_mels, frames] per sound, or all sounds in one such array.
            max_chunks: largest number of chunks per call; None: all in one call.

        Raises:
            OmnijetError: the arrays do not have the planned shapes.
        """
        sounds = self._sounds(mels)
        size = len(self.chunks) if max_chunks is None else max_chunks
        assert size > 0
        for first in range(0, len(self.chunks), size):
            yield self._feeds(sounds, self.chunks[first : first + size])

    def _sounds(self, mels: Array | Sequence[Array]) -> list[Array]:
        if isinstance(mels, np.ndarray):
            whole = (self.dims.n_mels, sum(self.lengths))
            _check_shape("mel", mels.shape, whole)
            return np.split(mels, np.cumsum(self.lengths)[:-1], axis=1)
        assert len(mels) == len(self.lengths), "as many mel arrays as planned sounds"
        for index, (mel, length) in enumerate(zip(mels, self.lengths, strict=True)):
            _check_shape(f"mel of audio {index + 1}", mel.shape, (self.dims.n_mels, length))
        return list(mels)

    def _feeds(self, sounds: Sequence[Array], chunks: Sequence[Chunk]) -> dict[str, Array]:
        width, positions = self.dims.chunk_frames, self.dims.chunk_positions
        mel = np.zeros((len(chunks), self.dims.n_mels, width), np.float32)
        for row, chunk in enumerate(chunks):
            stop = chunk.start + chunk.frames
            mel[row, :, : chunk.frames] = sounds[chunk.sound][:, chunk.start : stop]
        frames = np.array([chunk.frames for chunk in chunks])
        valid = np.array([chunk.positions for chunk in chunks])
        tokens = np.array([chunk.tokens for chunk in chunks])

        # pairs never cross chunks: their first rows are chunk * positions + 0, 2, 4, ...
        before = np.cumsum(tokens) - tokens
        chunk_of = np.repeat(np.arange(len(chunks)), tokens)
        within = np.arange(len(chunk_of)) - before[chunk_of]
        first = chunk_of * positions + AUDIO_POOL * within
        return {
            "mel": mel,
            "frame_mask": (np.arange(width) < frames[:, None])[:, None].astype(np.float32),
            "key_mask": (np.arange(positions) < valid[:, None])[:, None, None],
            "pool_rows": (first[:, None] + np.arange(AUDIO_POOL)).astype(np.int64),
        }


def plan_audio(dims: AudioEncoderDims, lengths: Sequence[int]) -> AudioPlan:
    """Cuts sounds of `lengths` mel frames into chunks.

    A remainder of 1 or 2 frames is left out: it makes no token, and no other chunk sees it.

    Raises:
        OmnijetError: a sound is too short to make a token.
    """
    assert dims.chunk_positions % AUDIO_POOL == 0, "an odd chunk would pool across its border"
    width = dims.chunk_frames
    for index, length in enumerate(lengths):
        if audio_token_count(length) < 1:
            raise OmnijetError(
                f"audio {index + 1} is too short for a single token",
                where=f"audio {index + 1} of {len(lengths)}",
                expected="3 mel frames or more (over 20 ms of sound)",
                got=f"{length} mel frames (10 ms each)",
                fix="leave it out, or pad it with silence",
            )
    chunks = (
        Chunk(sound, start, min(width, length - start))
        for sound, length in enumerate(lengths)
        for start in range(0, length, width)
    )
    return AudioPlan(dims, tuple(lengths), tuple(chunk for chunk in chunks if chunk.tokens))


def _check_shape(what: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise OmnijetError(f"{what} has the wrong shape", where=what, expected=expected, got=got)
