"""Sound in pieces equals sound in one piece, at odd sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.speech.vocoder import (
    EXACT_CONTEXT,
    HELD,
    NEAR_CONTEXT,
    SHORT_CONTEXT,
    VocoderStream,
)

if TYPE_CHECKING:
    from omnijet.runtime.omni import Omni


@pytest.fixture(scope="module")
def vocoder(omni: Omni) -> Bindings:
    return Bindings(omni.model.graph("vocoder"))


def mel_of(frames: int) -> Array:
    rng = np.random.default_rng(frames)
    return (2.4 * rng.standard_normal((80, frames)) - 4).astype(np.float32)


def in_pieces(vocoder: Bindings, mel: Array, sizes: list[int], context: int) -> list[Array]:
    stream = VocoderStream(vocoder, context)
    pieces, begin = [], 0
    for size in sizes:
        end = begin + size
        pieces.append(stream.push(mel[:, begin:end], last=end == mel.shape[1]))
        begin = end
    assert begin == mel.shape[1] == stream.voiced
    return pieces


@pytest.mark.parametrize("context", [EXACT_CONTEXT, NEAR_CONTEXT])
@pytest.mark.parametrize(
    "sizes", [[1], [24, 1], [24, 48, 96, 31], [10, 10, 3, 60, 7], [72, 72, 23], [1] * 40]
)
def test_pieces_join_to_the_whole(
    omni: Omni, vocoder: Bindings, sizes: list[int], context: int
) -> None:
    mel = mel_of(sum(sizes))
    whole = omni.wave_of(mel)
    joined = np.concatenate(in_pieces(vocoder, mel, sizes, context))
    assert joined.shape == whole.shape == (240 * sum(sizes),)
    assert whole.std() > 0.001
    assert np.abs(joined - whole).max() <= 5e-6 * np.abs(whole).max()  # sums of other lengths


def test_a_shorter_context_is_heard(omni: Omni, vocoder: Bindings) -> None:
    """The tolerance above is tight: a context of four frames fails it."""
    mel = mel_of(120)
    whole = omni.wave_of(mel)
    joined = np.concatenate(in_pieces(vocoder, mel, [40, 80], 4))
    assert np.abs(joined - whole).max() > 1e-4 * np.abs(whole).max()


def test_sound_comes_as_soon_as_its_context_is_there(vocoder: Bindings) -> None:
    pieces = in_pieces(vocoder, mel_of(100), [20, 10, 60, 10], NEAR_CONTEXT)
    assert [len(piece) // 240 for piece in pieces] == [0, 10, 60, 30]


def test_sizes_that_return_are_bound_once(omni: Omni) -> None:
    vocoder = Bindings(omni.model.graph("vocoder"))
    for _ in range(2):
        in_pieces(vocoder, mel_of(48 * 6 + 5), [48] * 6 + [5], NEAR_CONTEXT)
    assert len(vocoder) == 2  # without left context, with it


def test_a_wrong_guess_gives_way_over_one_frame(omni: Omni, vocoder: Bindings) -> None:
    """Guessed sound fades into the real one, so that the join does not click."""
    mel, wrong = mel_of(96), mel_of(24) - 1
    whole = omni.wave_of(mel)
    guessed = omni.wave_of(np.concatenate([mel[:, :48], wrong[:, : SHORT_CONTEXT - HELD]], axis=1))
    stream = VocoderStream(vocoder)
    pieces = [stream.push(mel[:, :48], wrong), stream.push(mel[:, 48:], last=True)]
    wave, join, frame = np.concatenate(pieces), (48 - HELD) * 240, 240
    peak = np.abs(whole).max()
    assert np.abs(guessed - whole[: guessed.size])[join : join + frame].max() > 1e-3 * peak
    share = (np.arange(frame) + 0.5) / frame
    fading = (1 - share) * guessed[join : join + frame] + share * whole[join : join + frame]
    expected = np.concatenate([guessed[:join], fading, whole[join + frame :]])
    assert np.abs(wave - expected).max() <= 5e-6 * peak
