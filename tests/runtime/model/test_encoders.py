"""The encoders over real graphs: memory and batching."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from omnijet.runtime.model import encoders
from omnijet.runtime.omni import Omni

ROOT = Path(__file__).parents[3]
LARGE = """
import json, resource, sys
import numpy as np
from omnijet.runtime.omni import Omni

omni = Omni.open(sys.argv[1])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rng = np.random.default_rng(0)
side = 128
patches = rng.standard_normal((side * side, omni.model.dims.vision.patch_width), dtype=np.float32)
omni.model.eyes.encode([patches[:64]], (1, 8, 8))
before = peak()
features = omni.model.eyes.encode([patches], (1, side, side))
print(json.dumps([peak() - before, bool(np.isfinite(features).all()), list(features.shape)]))
"""


def test_a_large_picture_needs_no_quadratic_memory(nano: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, nano[1]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown, finite, shape = json.loads(done.stdout)
    patches = 128 * 128
    assert finite and shape[0] == patches // 4
    one_head_of_scores = 4 * patches**2  # 1.07 GB
    assert grown < 0.5 * one_head_of_scores


def test_a_long_sound_goes_in_batches(omni: Omni, monkeypatch) -> None:
    """Chunks of two seconds are independent, so the number per call changes nothing."""
    rng = np.random.default_rng(0)
    bands = omni.model.dims.audio.n_mels
    sounds = [rng.standard_normal((bands, frames), dtype=np.float32) for frames in (730, 31, 2000)]
    whole = omni.model.ears.encode(sounds)
    monkeypatch.setattr(encoders, "MAX_CHUNKS", 3)
    pieces = omni.model.ears.encode(sounds)
    assert np.abs(pieces - whole).max() <= 1e-5 * np.abs(whole).max()
