"""Tests of the codec: one code from 1 per two frames, nearest in the codebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnijet.nano.training.codec import CODES, Codec, fit
from omnijet.nano.training.reply_speech import Spoken
from omnijet.nano.world.speech_mel import speech_mel


def replies() -> list[Spoken]:
    """Returns sweeps with noise, which vary enough to use most codes."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(12):
        time = np.arange(480 * 100) / 24_000
        hertz = rng.uniform(100, 400) * (1 + time * rng.uniform(0, 8))
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 24_000)
        wave += 0.05 * rng.standard_normal(time.size) * np.sin(7 * time) ** 2
        wave = wave.astype(np.float32)
        made.append(Spoken("", ("Chelsie", "Ethan")[number % 2], wave, speech_mel(wave)))
    return made


def test_codes(tmp_path: Path) -> None:
    spoken = replies()
    codec = fit(spoken)
    codec.save(tmp_path / "codec.npz")
    again = Codec.load(tmp_path / "codec.npz")
    codes = [again.encode(reply.mel, reply.voice) for reply in spoken]
    assert all(len(code) == 100 for code in codes)
    everything = np.concatenate(codes)
    assert everything.min() >= 1 and everything.max() <= CODES
    assert len(np.unique(everything)) > CODES // 2
    np.testing.assert_array_equal(codes[0], codec.encode(spoken[0].mel, spoken[0].voice))
    # brute force, for one reply
    flat = np.maximum(spoken[1].mel, -9.0) - codec.means["Ethan"]
    points = (flat.reshape(100, 160) - codec.centre) @ codec.projection
    far = ((points[:, None] - codec.codebook[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(far.argmin(1) + 1, codes[1])


def test_a_voices_mean_is_not_in_its_codes() -> None:
    spoken = replies()
    codec = fit(spoken)
    louder = Codec(
        {**codec.means, "Loud": codec.means["Ethan"] + 0.7},
        codec.centre, codec.projection, codec.codebook,
    )  # fmt: skip
    mel = np.maximum(spoken[1].mel, -8.0)
    np.testing.assert_array_equal(codec.encode(mel, "Ethan"), louder.encode(mel + 0.7, "Loud"))
