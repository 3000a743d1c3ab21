"""What an engine is made of, and the hash of it. An engine with the same hash is not rebuilt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omnijet.engines import ort_forms
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.lowering import flavours
from omnijet.engines.lowering.fused.choices import choice
from omnijet.engines.profiles import Profile
from omnijet.engines.targets.target import Target
from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.bundle.manifest import Manifest

FLOAT = "none, floats"


def ingredients(
    manifest: Manifest,
    graph: str,
    target: Target,
    version: str,
    profiles: Sequence[Profile],
    options: BuildOptions,
) -> dict[str, Any]:
    """Returns the ingredients of an engine by name, in the types of JSON.

    Args:
        version: the library's.
    """
    entry = manifest.graphs[graph]
    made: dict[str, Any] = {
        "graph": manifest.files[entry.file].sha256,
        "weights": manifest.files[entry.weights].sha256,
        "recipe": manifest.quantization.get("recipe", FLOAT),
        "lowering": f"{flavours.form_of(target)} {lowering_code()}",
        "library": target.library,
        "version": version,
        "options": options.to_json(),
    }
    if target.library == "onnxruntime":
        made["forms"] = hashlib.sha256(Path(ort_forms.__file__).read_bytes()).hexdigest()
        belongs = target.flavour == "fused-cpu" and graph in ort_forms.OPTIMIZED
        made["instructions"] = list(instruction_sets()) if belongs else []
        if target.flavour == "fused-cpu":  # right on other processors, but not fastest there
            made["fastest"] = choice().measured
    else:
        made |= {
            "profiles": list(profiles), "compute capability": target.compute_capability,
        }  # fmt: skip
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def key_of(made_of: Mapping[str, Any]) -> str:
    """Returns the sha256 of the ingredients in hexadecimal."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def differences(made_of: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Returns the names of the ingredients that changed."""
    return [name for name in made_of if made_of[name] != before.get(name)]


@cache
def lowering_code() -> str:
    """Returns the sha256 of the lowering passes, because they change what is built."""
    digest = hashlib.sha256()
    for path in sorted(Path(flavours.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
