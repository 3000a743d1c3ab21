"""Runs the graphs of a bundle one after another and writes their references.

The process reads a job as JSON from stdin and prints one line of JSON for each graph. Graphs are
loaded as they are, without packed copies of their weights, and closed before the next one: it takes
the memory of the largest graph.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.contract import Array, Precision
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.reference.distance import distance
from omnijet.runtime.reference.gate import RELATIVE, computes_in
from omnijet.runtime.reference.inputs import SEED, inputs_of
from omnijet.runtime.reference.kept import kept
from omnijet.runtime.reference.reference import Reference, file_of, made_of
from omnijet.runtime.reference.replay import Outputs, replay

EXACT = frozenset({"cos", "sin", "modulation", "modulation_out"})
"""Inputs that the host computes alike everywhere: they are not moved."""


def main() -> None:
    """Prints `{"graph": ...}`, with `"error"` if there is no reference of it."""
    job = json.load(sys.stdin)
    bundle, out, hidden = Bundle.open(Path(job["bundle"])), Path(job["out"]), None
    for graph in bundle.manifest.contracts:
        if graph not in job["graphs"]:
            continue
        verdict = {"graph": graph}
        try:
            found = record(bundle, graph, out, hidden)
            if graph == "thinker_step":
                hidden = np.concatenate([found["prompt/hidden"], found["step/hidden"]])
        except OmnijetError as error:
            verdict["error"] = f"{error.what}: {error.got}" if error.got else error.what
        print("\n" + json.dumps(verdict), flush=True)


def record(bundle: Bundle, graph: str, out: Path, hidden: Array | None = None) -> Outputs:
    """Writes the reference of one graph; returns what the graph made.

    Args:
        out: the folder that stands for the bundle's.
        hidden: see `inputs_of`.

    Raises:
        OmnijetError: the graph cannot be run, or what it computes is not finite.
    """
    manifest = bundle.manifest
    inputs = inputs_of(bundle, graph, hidden)
    backend = backend_of(manifest.precision)
    try:
        entry = manifest.graphs[graph]
        with bundle.watch.reading(entry.file, entry.weights):
            loaded = backend.load(bundle.graph(graph), manifest.contracts[graph])
        made = replay(loaded, manifest.dims, inputs)
        odd = [name for name, array in made.items() if not np.isfinite(array).all()]
        if odd:
            raise OmnijetError("outputs are not finite", where=graph, got=", ".join(odd[:8]))
        again = replay(loaded, manifest.dims, moved(inputs, computes_in(manifest, graph)))
    finally:
        backend.close()
    outputs = {name: kept(name, array) for name, array in made.items()}
    apart = {name: distance(one, kept(name, again[name])) for name, one in outputs.items()}
    path = out / file_of(graph)
    path.parent.mkdir(exist_ok=True)
    Reference(
        graph,
        made_of(manifest, graph),
        {"omnijet": version("omnijet"), "onnxruntime": onnxruntime.__version__,
         "backend": backend.name},
        inputs,
        outputs,
        {name: one.snr_db for name, one in apart.items()},
    ).write(path)  # fmt: skip
    return made


def backend_of(precision: Precision) -> OrtBackend:
    """Returns what runs the graphs as they are written; bf16 widened to f32, rounding as it does.

    Raises:
        OmnijetError: onnxruntime is too old, or bf16 needs packages that are not here.
    """
    if precision != "bf16":
        return OrtBackend(optimize=False, integer_products=False)
    try:
        from omnijet.engines.widened_backend import WidenedBackend
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "omnijet":
            raise
        raise OmnijetError(
            "a processor runs bf16 with more than the runtime alone",
            expected="the extra [quantize]",
            got=f"no module named {error.name}",
            fix='pip install "omnijet[quantize]"',
        ) from error
    return WidenedBackend(optimize=False, integer_products=False)


def moved(inputs: Mapping[str, Array], precision: Precision) -> dict[str, Array]:
    """Returns the inputs, each value moved up or down by one unit of the precision."""
    random = np.random.default_rng(SEED)
    share = np.float32(RELATIVE[precision])
    found = {}
    for name, array in inputs.items():
        found[name] = array
        if name not in EXACT and array.dtype.kind == "f":
            signs = random.choice(np.array([-1, 1], np.float32), array.shape)
            found[name] = array.astype(np.float32) * (1 + share * signs)
    return found


if __name__ == "__main__":
    main()
