"""What `Session.feed_audio` takes, and what it says of everything else."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.mono import LOUDEST

FULL_SCALE = 32768.0  # of int16, as where a file is read
WHERE = "feed_audio"


def fed_sound(samples: Array, rate_hz: int) -> Array:
    """Returns fed samples as f32[n] in [-1, 1].

    Args:
        samples: int16, or floats in [-1, 1]: [n], mono.
        rate_hz: that the model hears, for messages.

    Raises:
        OmnijetError: they have another shape or dtype, or are not finite or far out of range.
    """
    found = np.asarray(samples)
    if found.ndim != 1 or not (found.dtype.kind == "f" or _is_int16(found)):
        raise OmnijetError(
            "the sound array has an unusable shape or dtype",
            where=WHERE,
            expected=f"int16, or floats in [-1, 1], of shape [samples]: mono at {rate_hz} Hz",
            got=f"{found.dtype}{list(found.shape)}",
            fix=_way_out(found),
        )
    if _is_int16(found):
        return found.astype(np.float32) / np.float32(FULL_SCALE)
    if not np.isfinite(found).all():
        raise OmnijetError(
            "the sound holds values that are not finite",
            where=WHERE,
            got=f"{int((~np.isfinite(found)).sum())} NaN or infinite samples of {found.size}",
        )
    peak = float(np.abs(found).max(initial=0))
    if peak > LOUDEST:
        raise OmnijetError(
            "the samples are far outside the range of floats",
            where=WHERE,
            expected="floats in [-1, 1], or int16",
            got=f"floats up to {peak:g}",
            fix="give int16 as it is, or divide it by 32768",
        )
    return found.astype(np.float32, copy=False)


def _is_int16(found: Array) -> bool:
    return found.dtype.kind == "i" and found.dtype.itemsize == 2


def _way_out(found: Array) -> str:
    if found.ndim == 2:
        axis = int(found.shape[1] < found.shape[0])
        scaled = f" / {FULL_SCALE:.0f}" if _is_int16(found) else ""
        return f"mix the channels: samples.mean(axis={axis}){scaled}"
    if found.ndim > 2:
        return "give one array of samples a call"
    if found.dtype.kind in "iu":
        return "divide it by its full scale: uint8 is (x - 128) / 128, int32 is x / 2**31"
    return "give numpy.frombuffer(data, numpy.int16) of the bytes of a recorder"
