"""G.711 as libsndfile decodes it, and the nearest code for every sample."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from omnijet.runtime.realtime.g711 import Law, decoded, encoded

EVERY = np.arange(-32768, 32768).astype(np.int16)


def reference(codes: bytes, law: Law) -> np.ndarray:
    """What libsndfile makes of them."""
    subtype = {"pcmu": "ULAW", "pcma": "ALAW"}[law]
    samples, _ = soundfile.read(
        io.BytesIO(codes), format="RAW", subtype=subtype, samplerate=8000, channels=1,
        dtype="int16",
    )  # fmt: skip
    return samples


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_every_code_has_the_level_of_the_standard(law: Law) -> None:
    codes = bytes(range(256))
    assert np.array_equal(decoded(codes, law), reference(codes, law))


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_every_sample_gets_the_nearest_level(law: Law) -> None:
    levels = reference(bytes(range(256)), law).astype(np.int32)
    nearest = np.abs(EVERY.astype(np.int32)[:, None] - levels[None, :]).min(axis=1)
    made = decoded(encoded(EVERY, law), law).astype(np.int32)
    assert np.array_equal(np.abs(made - EVERY), nearest)


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_a_level_keeps_its_value(law: Law) -> None:
    codes = bytes(range(256))
    levels = decoded(codes, law)
    assert np.array_equal(decoded(encoded(levels, law), law), levels)
