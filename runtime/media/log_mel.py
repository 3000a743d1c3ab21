"""Log-mel frames of a complete sound, or of one that still grows.

The frames equal those of `WhisperFeatureExtractor` of transformers 4.57.6.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.preprocessing import Preprocessing

HIGHEST_MEL_HZ = 8000.0
POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 8.0  # decades below the loudest band; quieter bands are raised to there
BLOCK_FRAMES = 3000  # mel frames per block: bounds the memory and fits the cache


def log_mel(samples: Array, preprocessing: Preprocessing) -> Array:
    """Returns the log-mel frames of a mono sound, one per hop.

    The reference pads to 300 s with silence and drops the frames of the padding. Its result
    depends on the first two frames of the padding at most, so no more are computed here.

    Args:
        samples: f32[samples] at `preprocessing.sample_rate_hz`; samples beyond
            `preprocessing.max_samples` are ignored.

    Returns:
        f32[n_mels, ceil(samples / hop)]
    """
    samples = samples[: preprocessing.max_samples]
    assert samples.ndim == 1 and len(samples), f"one mono sound, not {samples.shape}"
    if preprocessing.padding_side == "left":
        return _left_padded(samples, preprocessing)
    logs = _logs(samples, 0, None, preprocessing)
    return _above_floor(logs[:, : -(-len(samples) // preprocessing.hop)], logs.max())


class GrowingSound:
    """A sound that still grows, and its log-mel frames.

    Each frame is computed once, when all samples of its window have arrived. Earlier frames
    change only when the sound becomes louder than before, because the floor depends on the
    loudest band.

    Attributes:
        size: samples that are heard, at most `preprocessing.max_samples`.
        dropped: samples that came after the longest sound, which are not kept.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.size = self.dropped = 0
        self._pieces: tuple[Array, ...] = ()  # never changed in place: copies share them
        self._preprocessing = preprocessing
        self._logs = np.empty((preprocessing.n_mels, 0), np.float32)
        self._mel = self._logs
        self._loudest = np.float32(-np.inf)

    def push(self, samples: Array) -> None:
        """Adds samples, f32[n] mono at the preprocessing's rate."""
        heard = samples[: self._preprocessing.max_samples - self.size]
        if heard.size:
            self._pieces = (*self._pieces, np.array(heard, np.float32))
        self.size += heard.size
        self.dropped += samples.size - heard.size

    @property
    def samples(self) -> Array:
        """All samples that are heard: f32[size]."""
        if len(self._pieces) != 1:  # joined when they are read, not at each of many small pushes
            self._pieces = (np.concatenate([np.empty(0, np.float32), *self._pieces]),)
        return self._pieces[0]

    @property
    def nbytes(self) -> int:
        """Bytes of samples and frames."""
        mel = 0 if self._mel is self._logs else self._mel.nbytes
        pieces = sum(piece.nbytes for piece in self._pieces)
        return pieces + self._logs.nbytes + mel

    @property
    def certain_frames(self) -> int:
        """Number of frames whose windows lie within the samples so far.

        Padding on the left counts frames from the end of the sound: none is certain before it.
        """
        if self._preprocessing.padding_side == "left":
            return 0
        return max(0, (self.size - self._preprocessing.n_fft) // self._preprocessing.hop)

    def certain_mel(self) -> Array:
        """Returns the frames whose bands no later sample changes; their floor may still rise.

        Returns:
            f32[n_mels, certain_frames]
        """
        known, frames = self._logs.shape[1], self.certain_frames
        if frames == known:
            return self._mel
        logs = _logs(self.samples, known, frames, self._preprocessing)
        self._logs = np.concatenate([self._logs, logs], axis=1)
        loudest = max(self._loudest, logs.max())
        if loudest > self._loudest:
            self._loudest = loudest
            self._mel = _above_floor(self._logs, loudest)
        else:
            self._mel = np.concatenate([self._mel, _above_floor(logs, loudest)], axis=1)
        return self._mel

    def whole_mel(self) -> Array:
        """Returns the log-mel of the sound as if it ended here: `log_mel` of all samples."""
        if self._preprocessing.padding_side == "left":
            return log_mel(self.samples, self._preprocessing)
        known = self.certain_mel().shape[1]
        end = _logs(self.samples, known, None, self._preprocessing)
        loudest = max(self._loudest, end.max())
        end = end[:, : -(-self.size // self._preprocessing.hop) - known]
        if loudest > self._loudest:
            return _above_floor(np.concatenate([self._logs, end], axis=1), loudest)
        return np.concatenate([self._mel, _above_floor(end, loudest)], axis=1)


@lru_cache(maxsize=2)
def mel_filters(n_mels: int, n_fft: int, sample_rate_hz: int) -> Array:
    """Returns Slaney's mel filter bank up to 8 kHz, of unit area: f64[n_mels, n_fft // 2 + 1].

    Mel is linear up to 1 kHz (15 mel) and logarithmic above, 27 mel per factor of 6.4.
    Source: Malcolm Slaney's Auditory Toolbox (1998).
    """
    step = math.log(6.4) / 27.0
    highest = 15.0 + math.log(HIGHEST_MEL_HZ / 1000.0) / step
    mels = np.linspace(0.0, highest, n_mels + 2)
    corners = np.where(mels < 15.0, mels * (200.0 / 3.0), 1000.0 * np.exp(step * (mels - 15.0)))
    bins = np.linspace(0.0, sample_rate_hz // 2, n_fft // 2 + 1)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    filters: Array = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    filters.flags.writeable = False
    return filters


def _left_padded(samples: Array, preprocessing: Preprocessing) -> Array:
    """Returns the frames of a sound that ends where the longest sound would end.

    The reference's frames lie on hops counted from the end then, and one that is cut by the
    padding is left out: f32[n_mels, samples // hop].
    """
    hop, longest = preprocessing.hop, preprocessing.max_samples
    silence = longest - len(samples)
    # no window of a frame that is kept, and of few that are not, reaches farther back
    reach = -(-preprocessing.n_fft // hop) * hop
    before = silence if silence <= reach + hop else silence % hop + reach
    padded = np.concatenate([np.zeros(before, np.float32), samples])
    logs = _logs(padded, 0, None, preprocessing, len(padded))
    return _above_floor(logs[:, -(-before // hop) :], logs.max())


def _logs(
    samples: Array,
    first: int,
    stop: int | None,
    preprocessing: Preprocessing,
    longest: int | None = None,
) -> Array:
    """Returns log10 of the mel bands of frames `first` to `stop`.

    Without `stop` the frames go on to the last one whose window reaches the sound.

    Returns:
        f32[n_mels, frames]
    """
    hop, n_fft = preprocessing.hop, preprocessing.n_fft
    longest = preprocessing.max_samples if longest is None else longest
    # no earlier sample is looked at, and no later one if an end is given
    skipped = max(0, first - -(-n_fft // (2 * hop)))
    samples = samples[skipped * hop : None if stop is None else stop * hop + n_fft]
    first, longest = first - skipped, longest - skipped * hop
    frames = -(-len(samples) // hop)
    # windows reach n_fft / 2 behind their centre, so these frames past the end still contain
    # sound, and one of them may have the loudest band
    audible = min(frames + -(-n_fft // (2 * hop)), longest // hop)
    stop = audible if stop is None else stop - skipped
    padded = np.zeros(min(frames * hop + n_fft, longest), np.float64)
    padded[: len(samples)] = samples
    padded = np.pad(padded, n_fft // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    filters = mel_filters(preprocessing.n_mels, n_fft, preprocessing.sample_rate_hz)
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    logs = np.empty((preprocessing.n_mels, stop - first), np.float32)
    for start in range(first, stop, BLOCK_FRAMES):
        end = min(start + BLOCK_FRAMES, stop)
        spectrum = np.fft.rfft(windows[start:end] * hann, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        bands = np.log10(np.maximum(filters @ power.T, POWER_FLOOR))
        logs[:, start - first : end - first] = bands
    return logs


def _above_floor(logs: Array, loudest: np.float32) -> Array:
    mel: Array = np.maximum(logs, loudest - np.float32(DYNAMIC_RANGE))
    return (mel + np.float32(4.0)) / np.float32(4.0)
