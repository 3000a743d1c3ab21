"""How long a bundle takes to load when its files are in the page cache."""

from __future__ import annotations

import json
import subprocess
import sys

from tools.bench.made import ROOT
from tools.bench.parts.setting import Setting
from tools.bench.row import Row

TRIES = 2  # the first brings the files into the page cache


def opening(setting: Setting) -> list[Row]:
    """Times a new process until its graphs are loaded."""
    bundle = setting.int4()
    command = [sys.executable, "-m", "tools.bench.parts.opening_child", str(bundle)]
    found = []
    for _ in range(TRIES):
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    times: dict[str, float] = found[-1]
    said = ", ".join(f"{name.removesuffix('_step')} {s:.2f}" for name, s in times.items())
    size = (bundle / "graphs").glob("*.weights")
    return [
        Row(f"load {setting.title}, the Thinker's graph", "s", times["thinker_step"]),
        Row(
            f"load {setting.title}, a process until all graphs are loaded",
            "s",
            sum(times.values()),
            note=f"{sum(file.stat().st_size for file in size) / 1e9:.1f} GB of weights; {said}",
        ),
    ]
