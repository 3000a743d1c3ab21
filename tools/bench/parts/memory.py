"""The peak memory of a spoken reply at a full context, by part."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tools.bench.made import ROOT
from tools.bench.parts.setting import Setting
from tools.bench.row import Row

ROWS = {"middle": 1024, "full": 4096}


def memory(setting: Setting) -> list[Row]:
    """Measures a process of its own that imports the runtime alone."""
    command = [sys.executable, "-m", "tools.bench.parts.memory_child", str(setting.int4())]
    command.append(str(ROWS[setting.size]))
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return rows_of(setting.title, found)


def rows_of(title: str, found: dict[str, Any]) -> list[Row]:
    """Returns the whole, and what it consists of.

    The caches are counted as arrays of the context's length; what the reply needs beyond what was
    loaded is caches and activations.
    """
    peak, loaded, started = found["peak"], found["loaded"], found["started"]
    tables = sum(size for name, size in found["files"].items() if name.startswith("tables/"))
    weights = sum(found["files"].values()) - tables
    grown = max(peak["RssAnon"] - loaded["RssAnon"], 0)
    parts = {
        "weights, mapped": weights,
        "tables, mapped": tables,
        "libraries, mapped": max(peak["RssFile"] - weights - tables, 0),
        "Python and libraries": started["RssAnon"],
        "weights that were repacked": loaded["RssAnon"] - started["RssAnon"],
        "caches": found["caches"],
        "activations and buffers": max(grown - found["caches"], 0),
    }
    context = f"{found['rows']:,} rows, {found['codes']} codes"
    return [
        Row(
            f"memory {title}, the peak of a spoken reply",
            "GB",
            sum(peak.values()) / 1e9,
            note=context,
        ),
        *(Row(f"... {name}", "GB", size / 1e9) for name, size in parts.items()),
    ]
