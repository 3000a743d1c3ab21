"""The encoders of pictures and sounds, beside transformers' in processes of their own."""

from __future__ import annotations

import argparse

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.profiling import workload
from tools.bench.encoders import Work, measured, works
from tools.bench.encoders_child import Measured
from tools.bench.parts.setting import Setting
from tools.bench.row import TRANSFORMERS, Row

PICTURES = {"middle": ["448x448"], "full": ["448x448", "1920x1080"]}
ALONE = "1920x1080"  # takes transformers minutes and many gigabytes
CLIPS = ["8x448x224"]  # of 16 frames, as small as they get
SOUNDS = [5.0, 30.0]


def encoders(setting: Setting) -> list[Row]:
    """Times pictures and sounds; the memory is that of one encoder and one input."""
    folder = setting.int4()
    bundle = Bundle.open(folder)
    options = argparse.Namespace(
        pictures=PICTURES[setting.size], clips=CLIPS, sounds=SOUNDS, preset=setting.preset,
        threads=setting.threads, rounds=2,
    )  # fmt: skip
    rows = []
    for work in works(options, bundle):
        large = ALONE in work.name
        options.rounds = 1 if large else 2
        ours = measured(work, folder, options)
        if not isinstance(ours, Measured):
            raise SystemExit(f"{work.name}: {ours}")
        theirs = None if large else measured(work, None, options)
        floor, reason = floor_of(work, bundle, setting)
        rows.append(
            Row(
                f"{setting.title}, {work.name}", "s", ours.seconds, floor, reason,
                {TRANSFORMERS: theirs.seconds} if isinstance(theirs, Measured) else {},
                f"peak {ours.peak / 1e9:.1f} GB",
            )
        )  # fmt: skip
    return rows


def floor_of(work: Work, bundle: Bundle, setting: Setting) -> tuple[float, str]:
    """Returns the seconds that the products take at this machine's rate, and what they are."""
    manifest = bundle.manifest
    if work.grid is not None:
        name = "vision_encoder"
        cost = workload.vision_encoder(manifest, manifest.dims.vision, [work.grid])
    else:
        name = "audio_encoder"
        cost = workload.audio_encoder(manifest, manifest.dims.audio, [work.frames])
    rate, kind = setting.rate_of(manifest, name)
    return cost.operations / rate, f"{cost.operations / 1e9:,.0f} GFLOP {kind}"
