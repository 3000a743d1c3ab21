"""Rotary tables, computed on the host: graphs take cos and sin and hold no positions.

All tables are float32 and half a head wide; each graph pairs the two halves itself. Angles are
products in float32, as in the reference: at positions in the thousands, an angle in float64 is a
different angle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from omnijet.runtime.bundle.dims import DecoderDims

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

VISION_THETA = 10000.0


def inverse_frequencies(width: int, theta: float) -> FloatArray:
    """Returns theta ** (-2j / width) for j < width / 2: f32[width / 2]."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    powers = np.power(np.float64(theta), exponents.astype(np.float64))
    return (np.float32(1) / powers.astype(np.float32)).astype(np.float32)


class MRope:
    """The multimodal rotary tables of one decoder: each band of the half head follows one axis.

    `section` is how many frequencies follow time, height and width (report section 2.2;
    `apply_multimodal_rotary_pos_emb` of transformers 4.57.6).
    """

    __slots__ = ("_axes", "_bands", "inv_freq", "section")

    def __init__(self, head_dim: int, theta: float, section: tuple[int, int, int]) -> None:
        assert sum(section) == head_dim // 2, f"bands {section} do not fill half of {head_dim}"
        self.section = section
        self.inv_freq = inverse_frequencies(head_dim, theta)
        self._axes = np.repeat(np.arange(3), section)  # axis of each frequency
        ends = np.cumsum(section).tolist()
        self._bands = tuple(
            (axis, slice(end - width, end))
            for axis, (end, width) in enumerate(zip(ends, section, strict=True))
            if width
        )

    @staticmethod
    def of(decoder: DecoderDims) -> MRope:
        return MRope(decoder.head_dim, decoder.rope_theta, decoder.mrope_section)

    def tables(self, positions: IntArray) -> tuple[FloatArray, FloatArray]:
        """Returns cos and sin f32[1, L, head_dim / 2] of positions i64[3, 1, L]."""
        shape = (1, positions.shape[2], len(self.inv_freq))
        cos, sin = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.write(positions, cos, sin)
        return cos, sin

    def write(self, positions: IntArray, cos: FloatArray, sin: FloatArray) -> None:
        """Writes `tables` into arrays f32[1, L, head_dim / 2], C-contiguous or not."""
        where = positions.astype(np.float32)
        if where.shape[2] == 1:
            np.multiply(where[self._axes, 0, 0], self.inv_freq, out=cos[0, 0])
        else:
            for axis, band in self._bands:
                angles = where[axis, 0, :, None]
                np.multiply(angles, self.inv_freq[band], out=cos[0, :, band])
        _in_place(cos, sin)

    def write_steps(self, position: int, cos: FloatArray, sin: FloatArray) -> None:
        """Writes the tables of decoded tokens, the first at `position` on every axis and the others
        behind it.

        The arrays are f32[1, rows, head_dim / 2].
        """
        for row, angles in enumerate(cos[0]):
            np.multiply(self.inv_freq, np.float32(position + row), out=angles)
        _in_place(cos, sin)


def decode_position(cache_len: int, delta: int) -> int:
    """Returns the position of the next token fed, on all three axes.

    Args:
        cache_len: real tokens already in the cache; left pads do not count.
        delta: this row's delta from `tmrope_positions`.
    """
    return cache_len + delta


def vision_cos_sin(pos_hw: IntArray, head_dim: int) -> tuple[FloatArray, FloatArray]:
    """Returns cos and sin f32[1, N, head_dim / 2] of patch rows and columns i64[N, 2].

    The first half of the frequencies follows the row, the second the column.
    """
    inv_freq = inverse_frequencies(head_dim // 2, VISION_THETA)
    # sides are short: a table per coordinate, gathered, spares N transcendental rows
    sides = np.arange(int(pos_hw.max()) + 1, dtype=np.float32)
    angles = sides[:, None] * inv_freq
    shape = (1, len(pos_hw), head_dim // 2)
    return (
        np.cos(angles)[pos_hw].reshape(shape),
        np.sin(angles)[pos_hw].reshape(shape),
    )


def _in_place(cos: FloatArray, sin: FloatArray) -> None:
    """Replaces the angles in `cos` by their cosines and writes their sines."""
    np.sin(cos, out=sin)
    np.cos(cos, out=cos)
