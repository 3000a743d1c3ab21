"""One channel at the model's rate, of a sound that comes block by block."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import numpy as np
import soxr

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.pcm import HIGHEST_RATE_HZ, LOWEST_RATE_HZ

_log = logging.getLogger(__name__)

# Floats are in [-1, 1], a little more where they are clipped. Whoever converts integers without
# scaling them gives floats thousands of times as large, and the model would hear noise.
LOUDEST = 64.0  # 36 dB above full scale
INTEGER_SCALES = (  # (range, peaks above, up to, full scale); in between it may be either
    ("int16", LOUDEST, 2.0**16, 2.0**15),
    ("int32", 2.0**24, 2.0**32, 2.0**31),
)
LEAST_SHARE = 0.05  # of the samples that are not 0 reach 1 in any integer range; clicks do not


def require_rate(rate: object, where: object) -> None:
    """Raises `OmnijetError` unless a sample rate is a number of Hz that recordings have."""
    if (
        isinstance(rate, bool)
        or not isinstance(rate, int | float | np.integer | np.floating)
        or not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ
    ):
        raise OmnijetError(
            "the sample rate is unusable",
            where=where,
            expected=f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ:,} Hz",
            got=rate,
        )


class MonoSound:
    """Mixes and resamples blocks; equals mixing and resampling the whole, bit for bit.

    Args:
        rate_hz: of what comes.
        target_hz: of the result.
        seconds: what comes later is not read.
        check: called before each block; it may raise to cancel.
    """

    def __init__(
        self, rate_hz: float, target_hz: int, seconds: float, check: Check = never
    ) -> None:
        self._check = check
        self._rate, self._target = rate_hz, target_hz
        self._limit = math.ceil(seconds * rate_hz)
        self._resampler = None
        if rate_hz != target_hz:
            self._resampler = soxr.ResampleStream(
                rate_hz, target_hz, 1, dtype="float32", quality="HQ"
            )
        self._made: list[Array] = []
        self._read = 0
        self._bad, self._first_bad = 0, 0
        self._peak, self._sounding, self._loud = 0.0, 0, 0

    def fill(self, blocks: Iterable[Array]) -> None:
        """Reads blocks f32[samples, channels] up to the limit."""
        for block in blocks:
            self._check()
            block = block[: self._limit - self._read]
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
            self._examine(mono)
            self._read += len(mono)
            if self._resampler is not None:
                mono = self._resampler.resample_chunk(np.ascontiguousarray(mono))
            self._made.append(np.array(mono, np.float32))  # not a view: the block is let go of
            if self._read >= self._limit:
                return

    def samples(self, where: object) -> Array:
        """Returns f32[ceil(samples * target / rate)] in [-1, 1].

        Raises:
            OmnijetError: there are none, or they are not finite or of no known scale.
        """
        if not self._read:
            raise OmnijetError(
                "the sound is empty", where=where, expected="at least one sample", got="none"
            )
        if self._bad:
            raise OmnijetError(
                "the sound holds values that are not finite",
                where=where,
                expected="samples in [-1, 1]",
                got=f"{self._bad} NaN or infinite samples of {self._read}, the first after "
                f"{self._first_bad / self._rate:.3f} s",
                fix="replace them, for example with numpy.nan_to_num",
            )
        scale = self._scale(where)
        if self._resampler is not None:
            self._made.append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        made = np.concatenate(self._made)
        length = math.ceil(self._read * self._target / self._rate)
        made = made[:length] if len(made) >= length else np.pad(made, (0, length - len(made)))
        return made if scale == 1 else made / np.float32(scale)

    def _examine(self, mono: Array) -> None:
        finite = np.isfinite(mono)
        if not finite.all():
            if not self._bad:
                self._first_bad = self._read + int(np.argmin(finite))
            self._bad += int((~finite).sum())
            return
        size = np.abs(mono)
        self._peak = max(self._peak, float(size.max(initial=0)))
        self._sounding += int(np.count_nonzero(size))
        self._loud += int(np.count_nonzero(size >= 1))

    def _scale(self, where: object) -> float:
        """Returns what the samples are divided by: 1 for all that are near [-1, 1]."""
        if self._peak <= LOUDEST:
            return 1.0
        if self._loud >= LEAST_SHARE * self._sounding:
            for name, above, most, scale in INTEGER_SCALES:
                if above < self._peak <= most:
                    _log.warning(
                        "%s: the samples are floats in the range of %s (up to %g): divided by %d",
                        where, name, self._peak, scale,
                    )  # fmt: skip
                    return scale
        raise OmnijetError(
            "the samples are far outside the range of floats",
            where=where,
            expected="floats in [-1, 1], or floats in the range of int16 or int32",
            got=f"{self._loud} of {self._read} samples of 1 or more, up to {self._peak:g}",
            fix="divide them by their full scale, or limit single clicks: numpy.clip(x, -1, 1)",
        )
