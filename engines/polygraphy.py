"""Commands of NVIDIA's `polygraphy` that compare a graph's engine with ONNX Runtime.

Both get the same random inputs from polygraphy; ranges keep indices and masks valid. ONNX Runtime
runs the canonical graph, so the comparison covers the lowering too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from omnijet.engines.profiles import Profile
from omnijet.engines.targets.target import Target
from omnijet.runtime.bundle.contract import GraphContract, Precision, TensorSpec
from omnijet.runtime.bundle.manifest import EngineEntry, Manifest

SCRIPT = "compare.sh"
TOLERANCE: Mapping[Precision, float] = {"f32": 1e-3, "f16": 2e-2}
"""Largest absolute and relative difference that passes, by the precision of the graph. ONNX
Runtime's CPU has no bf16, so such graphs have no reference."""

FLOATS = (-1.0, 1.0)
ALL_SEEN = (1, 1)
"""Range of masks: a row that sees nothing has no softmax."""


def script(manifest: Manifest, target: Target) -> str:
    """Returns a shell script that compares all engines of a target from any working folder.

    The script takes names of graphs as arguments; without arguments it compares all.
    """
    lines = [
        "#!/bin/sh",
        "# Engines beside ONNX Runtime on the same random inputs; needs polygraphy, ONNX Runtime",
        "# and the GPU. Arguments: graphs; default: all.",
        'cd "$(dirname "$0")/../.." || exit 2',
        "scratch=$(mktemp -d) && trap 'rm -rf \"$scratch\"' EXIT || exit 2",
        "failed=0",
        "wanted() {",
        "    name=$1; shift",
        '    [ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) false ;; esac',
        "}",
    ]
    for name, entry in manifest.engines.get(target.name, {}).items():
        contract = manifest.contracts[name]
        lines += ["", f'if wanted {name} "$@"; then']
        if computes_in(manifest, contract) not in TOLERANCE:
            said = f"{name}: not compared, the CPU of ONNX Runtime has no {manifest.precision}"
            lines += [f"    echo {shlex.quote(said)} >&2", "fi"]
            continue
        if contract.state:
            lines += [
                "    # the cache's input and output must be one buffer, which polygraphy does not",
                "    # promise: if this fails to run, `make gpu-check` compares with one",
            ]
        together = " &&\n        ".join(commands(manifest, target, name, entry))
        lines += [f"    {{ {together}; }} || failed=1", "fi"]
    return "\n".join([*lines, "", 'exit "$failed"', ""])


def commands(manifest: Manifest, target: Target, graph: str, entry: EngineEntry) -> tuple[str, str]:
    """Returns the commands for one graph, to be run inside the bundle; `$scratch` is a folder.

    The first runs ONNX Runtime and saves inputs and outputs, the second compares the engine with
    them. A graph in bf16 has no such commands.
    """
    contract = manifest.contracts[graph]
    sizes = {symbol: sizes[1] for symbol, sizes in entry.profiles[-1].items()}
    shapes = [f"{spec.name}:[{','.join(map(str, spec.shape(sizes)))}]" for spec in contract.inputs]
    ranges = [f"{spec.name}:[{low},{high}]" for spec, (low, high) in _ranges(contract, sizes)]
    kept = [f'"$scratch/{graph}.{what}.json"' for what in ("inputs", "outputs")]
    reference = [
        "polygraphy run", manifest.graphs[graph].file, "--onnxrt",
        "--input-shapes", *map(shlex.quote, shapes), "--val-range", *map(shlex.quote, ranges),
        "--save-inputs", kept[0], "--save-outputs", kept[1],
    ]  # fmt: skip
    allowed = str(TOLERANCE[computes_in(manifest, contract)])
    switch = ["POLYGRAPHY_USE_TENSORRT_RTX=1"] if target.library == "tensorrt_rtx" else []
    engine = [
        *switch, "polygraphy run", entry.file, "--model-type engine --trt",
        "--optimization-profile", str(len(entry.profiles) - 1),
        "--load-inputs", kept[0], "--load-outputs", kept[1], "--atol", allowed, "--rtol", allowed,
    ]  # fmt: skip
    return " ".join(reference), " ".join(engine)


def computes_in(manifest: Manifest, contract: GraphContract) -> Precision:
    """Returns the precision that a graph computes in: the speech graphs always use f32."""
    return "f32" if contract.name in ("dit_step", "vocoder") else manifest.precision


def _ranges(
    contract: GraphContract, sizes: Profile | Mapping[str, int]
) -> Sequence[tuple[TensorSpec, tuple[float, float]]]:
    shapes = {spec.name: spec.shape(sizes) for spec in contract.inputs}  # type: ignore[arg-type]
    return [(spec, _range(spec, shapes)) for spec in contract.inputs]


def _range(spec: TensorSpec, shapes: Mapping[str, tuple[int, ...]]) -> tuple[float, float]:
    if spec.dtype == "bool":
        return ALL_SEEN
    if spec.dtype != "i64":
        return FLOATS
    return 0, _rows_behind(spec.name, shapes) - 1


def _rows_behind(index: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns how many rows an index input may choose from."""
    match index:
        case "pool_rows":
            return shapes["key_mask"][0] * shapes["key_mask"][-1]
        case "window_rows" | "picture_rows":
            return shapes["patches"][0]
        case "window_slots":
            return shapes["window_rows"][0] * shapes["window_rows"][1]
        case "commit":
            return shapes["mask_self"][0]
        case "write_index":
            return shapes["mask"][-1] - shapes["mask"][-2]
        case "head_rows":
            return shapes["embeds"][1]
    raise AssertionError(index)
