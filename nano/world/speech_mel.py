"""The mel spectrogram of spoken replies: what the DiT makes and the vocoder reads.

Natural logarithm, 100 frames a second at 24 kHz, 80 bands up to 8 kHz (where the voices
end: they are recorded at 16 kHz).
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
    """f32 at 16 kHz -> f32 at 24 kHz, cut to whole codec tokens (two frames)."""
    wave = soxr.resample(samples, RATE_HZ, SPEECH_RATE_HZ, quality="HQ")
    return np.asarray(wave[: len(wave) // (2 * HOP) * 2 * HOP], np.float32)


def speech_mel(wave: Array) -> Array:
    """f32[samples] at 24 kHz -> f32[frames, 80], frames = samples / 240."""
    margin = (N_FFT - HOP) // 2
    padded = np.pad(np.asarray(wave, np.float64), margin, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
    spectrum = np.abs(np.fft.rfft(windows * hann, axis=1))
    filters = mel_filters(BANDS, N_FFT, SPEECH_RATE_HZ)
    mel: Array = np.log(np.maximum(spectrum @ filters.T, FLOOR)).astype(np.float32)
    return mel
