"""A picture, sound or clip as the encoders read it, and what they made of it.

It stays with the part of the message that brought it: a conversation reads, preprocesses
and encodes each of its media once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import AudioEncoderDims, audio_token_count
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.cut_frames import CutFrames
from omnijet.runtime.media.image import Frames, Grid
from omnijet.runtime.prompt.places import MediumShape

Ids = npt.NDArray[np.int64]
Content: TypeAlias = CutFrames | Array
"""Frames of a picture or clip, or the mel of a sound."""


@dataclass(slots=True, eq=False)
class EncoderInput:
    """What one encoder reads of a medium, block by block, and the rows it made of it.

    Blocks do not depend on each other: 2 s of a sound, or a whole picture or clip.

    Attributes:
        content: frames of a picture or clip, or f32[n_mels, frames] of a sound; None once all
            of it is encoded.
        grid: (t, h, w) in patches; None for a sound.
        frames: mel frames of a sound; 0 for pictures and clips.
        block_tokens: tokens of a block.
        fingerprints: i64[tokens], below 0: rows of equal fingerprints are made from equal
            content.
        encoded: f32[tokens of the block, hidden] of each block; None where it is not made yet.
    """

    content: Content | None
    grid: Grid | None
    frames: int
    block_tokens: int
    fingerprints: Ids
    encoded: list[Array | None] = field(init=False)

    def __post_init__(self) -> None:
        self.encoded = [None] * -(-self.fingerprints.size // self.block_tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of content and of encoded rows that are held."""
        held = [self.content, *self.encoded]
        return sum(one.nbytes for one in held if one is not None)

    def rows(self, first: int, stop: int, encode: Callable[[Content, int, int], Array]) -> Array:
        """Returns the encoder's rows of some tokens, and encodes only what nobody has yet.

        Args:
            first, stop: tokens of this input.
            encode: takes the content and a range of blocks, returns f32[tokens, hidden].

        Returns:
            f32[stop - first, hidden]
        """
        size = self.block_tokens
        blocks = range(first // size, -(-stop // size))
        # read first: the session of a fork may encode the rest meanwhile, and let go of it
        content = self.content
        for begin, end in _runs([block for block in blocks if self.encoded[block] is None]):
            assert content is not None
            made = encode(content, begin, end)
            for block in range(begin, end):
                start = (block - begin) * size
                self.encoded[block] = made[start : start + size]
        if all(block is not None for block in self.encoded):
            self.content = None
        found = [block for block in self.encoded[blocks.start : blocks.stop] if block is not None]
        offset = blocks.start * size
        joined: Array = np.concatenate(found)[first - offset : stop - offset]
        return joined

    def adopt(self, earlier: EncoderInput) -> None:
        """Takes over the rows of the blocks that an earlier, shorter input shares with this."""
        for block, made in enumerate(earlier.encoded[: len(self.encoded)]):
            token = block * self.block_tokens
            whole = self.fingerprints.size >= token + self.block_tokens
            same = self.fingerprints[token] == earlier.fingerprints[token]
            if made is not None and whole and same and len(made) == self.block_tokens:
                self.encoded[block] = made


@dataclass(frozen=True, slots=True, eq=False)
class Medium:
    """A preprocessed picture, sound or clip.

    Attributes:
        shape: its tokens and how they lie.
        seen: what the vision encoder reads; None for a sound.
        heard: what the audio encoder reads; None for a picture or a clip that is only seen.
        sound_was_read: whether a clip's sound, if it has one, is in `heard`.
    """

    shape: MediumShape
    seen: EncoderInput | None = None
    heard: EncoderInput | None = None
    sound_was_read: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in (self.seen, self.heard) if item is not None)


def picture_input(frames: Frames, preprocessing: Preprocessing) -> EncoderInput:
    """Makes the vision encoder's input of a picture or clip: uint8[frames, height, width, 3].

    Args:
        frames: resized for the model; nobody may change them afterwards.
    """
    content = CutFrames(frames, preprocessing)
    tokens = int(np.prod(content.grid)) // preprocessing.merge**2
    marks = np.full(tokens, _fingerprint(frames), np.int64)
    return EncoderInput(content, content.grid, 0, tokens, marks)


def sound_input(mel: Array, dims: AudioEncoderDims) -> EncoderInput:
    """Makes the audio encoder's input of a log-mel f32[n_mels, frames]."""
    frames = mel.shape[1]
    starts = range(0, frames, dims.chunk_frames)
    blocks = [_fingerprint(mel[:, start : start + dims.chunk_frames]) for start in starts]
    marks = np.repeat(blocks, dims.chunk_tokens)[: audio_token_count(frames)]
    return EncoderInput(mel, None, frames, dims.chunk_tokens, marks)


def _runs(blocks: list[int]) -> list[tuple[int, int]]:
    """Groups rising numbers into runs without a gap: the first, and one past the last, of each."""
    begins = [block for block in blocks if block - 1 not in blocks]
    ends = [block + 1 for block in blocks if block + 1 not in blocks]
    return list(zip(begins, ends, strict=True))


def _fingerprint(content: Array) -> int:
    """Two pictures may have equal pixels in other rows and columns."""
    digest = hashlib.blake2b(f"{content.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(content).data)
    return -1 - (int.from_bytes(digest.digest(), "little") >> 1)
