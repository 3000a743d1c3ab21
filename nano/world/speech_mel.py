"""The mel spectrogram of spoken replies, which the DiT generates and the vocoder reads.

It is the natural logarithm of 80 bands up to 8 kHz, with 100 frames a second at 24 kHz. The
voices have nothing above 8 kHz, because they are recorded at 16 kHz.
"""

from __future__ import annotations

import numpy as np
import soxr

from omnijet.nano.world.speech import RATE_HZ
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.log_mel import mel_filters

SPEECH_RATE_HZ = 24_000
HOP, N_FFT, BANDS = 240, 1024, 80
FLOOR = 1e-5


def to_speech_rate(samples: Array) -> Array:
    """Resamples f32 from 16 kHz to 24 kHz and cuts it to whole codec tokens of two frames."""
    wave = soxr.resample(samples, RATE_HZ, SPEECH_RATE_HZ, quality="HQ")
    return np.asarray(wave[: len(wave) // (2 * HOP) * 2 * HOP], np.float32)


def speech_mel(wave: Array) -> Array:
    """Computes the mel f32[samples / 240, 80] of a wave f32[samples] at 24 kHz."""
    margin = (N_FFT - HOP) // 2
    padded = np.pad(np.asarray(wave, np.float64), margin, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
    spectrum = np.abs(np.fft.rfft(windows * hann, axis=1))
    filters = mel_filters(BANDS, N_FFT, SPEECH_RATE_HZ)
    mel: Array = np.log(np.maximum(spectrum @ filters.T, FLOOR)).astype(np.float32)
    return mel
