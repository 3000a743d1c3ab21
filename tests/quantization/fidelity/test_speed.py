"""Bounds of speed are bandwidth divided by the bytes of the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omnijet.engines.targets.devices import DEVICES
from omnijet.quantization.fidelity.speed import speed_bounds, step_bytes
from omnijet.runtime.bundle.folder import Bundle


def test_half_the_bytes_are_twice_the_steps(nano: tuple[Path, Path]) -> None:
    bundle = Bundle.open(nano[1])
    manifest = bundle.manifest
    row = manifest.dims.talker.embed_width * bundle.table("talker_embedding").dtype.itemsize
    weights = bundle.folder / manifest.graphs["talker_step"].weights
    assert step_bytes(manifest, "talker_step") == pytest.approx(weights.stat().st_size + row, 1e-2)
    entry = manifest.graphs["talker_step"]
    small = replace(entry, weight_bytes=entry.weight_bytes // 2 - row // 2)
    bounds = speed_bounds(
        manifest, replace(manifest, graphs={**manifest.graphs, "talker_step": small})
    )
    published = {device.title: device.bandwidth_gb_s.value for device in DEVICES.values()}
    known = {title: value for title, value in published.items() if value is not None}
    assert len(bounds) == 2 * len(known) > 0
    for bound in bounds:
        times = 2.0 if bound.graph == "talker_step" else 1.0
        assert bound.steps_per_s == pytest.approx(times * bound.float_steps_per_s, rel=1e-5)
        assert bound.steps_per_s * bound.bytes == pytest.approx(1e9 * known[bound.target])
