"""Sound on its way in and out does not depend on the pieces that it comes in."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.sound_format import (
    Incoming,
    Name,
    Outgoing,
    SoundFormat,
    from_base64,
    heard,
)

FORMATS: tuple[Name, ...] = ("audio/pcm", "audio/pcmu", "audio/pcma")


def noise(count: int) -> np.ndarray:
    return (0.2 * np.random.default_rng(1).standard_normal(count)).astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
def test_what_comes_in_odd_pieces_is_the_whole(name: Name) -> None:
    form = SoundFormat(name)
    data = form.data(noise(3 * form.rate_hz + 7))
    whole = heard(data, form)
    incoming, made, first = Incoming(form), [], 0
    for size in np.random.default_rng(2).integers(0, 3000, 400):
        made.append(incoming.push(data[first : first + size]))
        first += int(size)
    made.append(incoming.push(data[first:]))
    left = incoming.left
    made.append(incoming.finish())
    assert made[-1].size == left
    assert np.array_equal(np.concatenate(made), whole)
    assert whole.size == -(-(3 * form.rate_hz + 7) * 16_000 // form.rate_hz)


def test_what_is_heard_is_the_sound_at_the_models_rate() -> None:
    form = SoundFormat()
    samples = noise(48_000)
    quantised = np.frombuffer(form.data(samples), "<i2").astype(np.float32) / 32768
    at_16k = soxr.resample(quantised, 24_000, 16_000, quality="HQ")
    assert np.abs(heard(form.data(samples), form) - at_16k[:32_000]).max() < 1e-5


@pytest.mark.parametrize("name", FORMATS)
def test_what_goes_out_in_odd_pieces_is_the_whole(name: Name) -> None:
    samples, form = noise(50_000), SoundFormat(name)
    whole, split = Outgoing(form), Outgoing(form)
    at_once = whole.push(samples) + whole.finish()
    pieces = [split.push(piece) for piece in np.array_split(samples, 41)]
    assert b"".join([*pieces, split.finish()]) == at_once
    assert abs(len(at_once) // form.width - samples.size * form.rate_hz / 24_000) <= 1


@pytest.mark.parametrize("text", ["a", "ab!=", "é", "=AAA"])
def test_what_is_no_base64_is_refused_by_name(text: str) -> None:
    with pytest.raises(Fault, match="audio is no base64") as caught:
        from_base64(text, "audio")
    assert caught.value.param == "audio"
