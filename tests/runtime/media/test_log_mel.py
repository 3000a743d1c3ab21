"""A sound that grows has the log-mel of the whole sound."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media import log_mel as module
from omnijet.runtime.media.log_mel import GrowingSound, log_mel

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("sizes", [(1, 79, 80, 81, 5000), (16_000,) * 4, (399, 1, 1, 160, 12_345)])
def test_growing_equals_whole(sizes: tuple[int, ...]) -> None:
    sound = noise(sum(sizes))
    sound[: len(sound) // 2] *= 1e-4  # the floor moves later
    grown = GrowingSound(PREPROCESSING)
    for piece in np.split(sound, np.cumsum(sizes)[:-1]):
        grown.push(piece)
        heard = grown.samples
        np.testing.assert_allclose(grown.whole_mel(), log_mel(heard, PREPROCESSING), atol=1e-6)
        # what is certain is what the whole sound will say, above the floor that it has so far
        whole = log_mel(sound, PREPROCESSING)[:, : grown.certain_frames]
        certain = grown.certain_mel()
        assert certain.shape == whole.shape
        np.testing.assert_allclose(np.maximum(certain, whole), np.maximum(whole, certain))
        loud = whole > whole.min() if whole.size else whole
        if whole.size:
            np.testing.assert_allclose(certain[loud], whole[loud], atol=1e-6)


def test_no_frame_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[int, int]] = []
    logs = module._logs

    def noted(
        samples: np.ndarray,
        first: int,
        stop: int | None,
        preprocessing: Preprocessing,
        longest: int | None = None,
    ):
        made = logs(samples, first, stop, preprocessing, longest)
        spans.append((first, first + made.shape[1]))
        return made

    monkeypatch.setattr(module, "_logs", noted)
    grown = GrowingSound(PREPROCESSING)
    for second in range(5):
        grown.push(noise(16_000, second, 0.02 * (1 + second)))
        grown.certain_mel()
        grown.certain_mel()
    assert [first for first, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert len(spans) == 5
    before = grown.certain_mel()
    grown.push(noise(16_000, 9, 1e-3))  # quieter: what is there stays as it is
    np.testing.assert_array_equal(grown.certain_mel()[:, : before.shape[1]], before)


def test_beyond_the_longest_sound_nothing_is_heard() -> None:
    short = replace(PREPROCESSING, max_audio_seconds=2)
    grown = GrowingSound(short)
    sound = noise(40_000)
    for piece in np.array_split(sound, 7):
        grown.push(piece)
        grown.certain_mel()
    np.testing.assert_allclose(grown.whole_mel(), log_mel(sound, short), atol=1e-6)
    assert grown.whole_mel().shape[1] == 200
    assert (grown.size, grown.dropped) == (32_000, 8_000)
    assert grown.samples.tobytes() == sound[:32_000].tobytes()


def test_pieces_are_copied_and_copies_grow_apart() -> None:
    buffer = noise(500)
    grown = GrowingSound(PREPROCESSING)
    grown.push(buffer)
    buffer[:] = 0  # a recorder fills it again
    twin = copy.copy(grown)
    grown.push(noise(300, 1))
    twin.push(noise(200, 2))
    assert grown.samples.tobytes() == np.concatenate([noise(500), noise(300, 1)]).tobytes()
    assert twin.samples.tobytes() == np.concatenate([noise(500), noise(200, 2)]).tobytes()
    assert (grown.nbytes, twin.nbytes) == (4 * 800, 4 * 700)


@pytest.mark.parametrize(
    "samples", [400, 16_000, 16_001, 16_080, 16_159, 479_500, 479_999, 480_000]
)
def test_padding_on_the_left_is_that_of_the_reference(samples: int) -> None:
    sizes = replace(PREPROCESSING, padding_side="left", max_audio_seconds=30)
    reference = WhisperFeatureExtractor(
        feature_size=sizes.n_mels, hop_length=sizes.hop, n_fft=sizes.n_fft, chunk_length=30,
        padding_side="left",
    )  # fmt: skip
    sound = noise(samples)
    sound[:50] *= 30  # the loudest frame may be one that is left out
    made = reference(
        sound, sampling_rate=16_000, padding="max_length", return_attention_mask=True,
        return_tensors="np",
    )  # fmt: skip
    wanted = made["input_features"][0][:, made["attention_mask"][0].astype(bool)]
    found = log_mel(sound, sizes)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    grown = GrowingSound(sizes)
    grown.push(sound)
    assert grown.certain_mel().shape[1] == 0  # the frames are counted from the end
    np.testing.assert_array_equal(grown.whole_mel(), found)
