"""What the graphs of a bundle computed on one machine, for another to compare with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.trials import Outputs
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.whole_file import write_whole

FORMAT = "omnijet-outputs-1"
MOST_BYTES = 4 << 20
TOLERANCES = {"f32": 1e-3, "f16": 2e-2, "bf16": 1e-1}
QUANTIZED = 0.2
"""Some ways to run integers round the activations, too."""


def write_outputs(path: Path, bundle: Bundle, found: Mapping[str, Outputs]) -> None:
    """Writes a few values of each output."""
    graphs = {
        name: {output: facts["values"] for output, facts in outputs.items() if facts["values"]}
        for name, outputs in found.items()
    }
    data = {"format": FORMAT, "bundle": bundle.manifest.name, "graphs": graphs}
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode())


def read_outputs(path: Path) -> dict[str, dict[str, list[float]]]:
    """Reads what `write_outputs` wrote.

    Raises:
        OmnijetError: the file cannot be read, or is another one.
    """
    try:
        data: Any = read_json(path, MOST_BYTES)
        if data["format"] != FORMAT:
            raise BadJson(f"format {data['format']!r}"[:60])
        graphs = {
            str(name): {str(o): [float(v) for v in values] for o, values in outputs.items()}
            for name, outputs in data["graphs"].items()
        }
        if not all(isfinite(v) for one in graphs.values() for vs in one.values() for v in vs):
            raise BadJson("values that are not finite")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OmnijetError(
            "the recorded outputs cannot be read",
            where=path,
            expected="a file that `omnijet check BUNDLE --deep --record FILE` wrote",
            got=error,
        ) from error
    return graphs


def differences(
    recorded: Mapping[str, Mapping[str, list[float]]], found: Mapping[str, Outputs], bundle: Bundle
) -> list[str]:
    """Returns one line for each graph output that is not as recorded."""
    manifest, faults = bundle.manifest, []
    most = QUANTIZED if manifest.quantization else TOLERANCES[manifest.precision]
    for name, outputs in recorded.items():
        if name not in found:
            faults.append(f"{name}: recorded, but it did not run here")
            continue
        for output, values in outputs.items():
            here = found[name].get(output, {}).get("values", [])
            if len(here) != len(values):
                faults.append(f"{name}: {output}: {len(here)} values, not {len(values)}")
            elif (far := distance(values, here)) > most:
                faults.append(
                    f"{name}: {output} differs by {far:.2g} of its size from what was recorded; "
                    f"at most {most:g} is rounding"
                )
    return faults


def distance(recorded: list[float], found: list[float]) -> float:
    """Returns how far the values are apart, as a share of the recorded ones' size."""
    apart = float(np.linalg.norm(np.subtract(recorded, found)))
    return apart / max(float(np.linalg.norm(recorded)), 1e-6)
