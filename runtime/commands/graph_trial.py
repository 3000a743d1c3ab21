"""Runs one graph of a bundle on fixed inputs, in a process that may crash or hang.

The process reads a job as JSON from stdin and prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.backends.ort_built import BuiltGraphs
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_installed import cpu_target, reads_graphs
from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, TensorSpec, widened
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError

SAMPLES = 64
"""Values that are kept of an output: enough to tell another answer, few enough for a small file."""


def main() -> None:
    """Prints `{"zeros": ..., "pattern": ...}`, or `{"error": ...}`."""
    job = json.load(sys.stdin)
    try:
        found = trial(
            Bundle.open(Path(job["bundle"])), job["graph"], job["provider"], job["engines"]
        )
    except OmnijetError as error:
        found = {"error": f"{error.what}: {error.got}" if error.got else error.what}
    print("\n" + json.dumps(found), flush=True)


def trial(
    bundle: Bundle, name: str, provider: str | None = None, engines: str | None = None
) -> dict[str, Any]:
    """Runs a graph on zeros and on a pattern, at the smallest sizes that there are.

    Returns:
        the facts of each output, for both.

    Raises:
        OmnijetError: the graph cannot be loaded, or fails.
    """
    contract = bundle.manifest.contracts[name]
    if provider is None and engines is None:
        built = None if reads_graphs() else BuiltGraphs.of(bundle, cpu_target())
        backend: Any = OrtBackend(optimize=False, built=built)  # quick to load, and small
    else:
        backend = backend_for(bundle, provider, engines)
    entry = bundle.manifest.graphs[name]
    with bundle.watch.reading(entry.file, entry.weights):
        graph = backend.load(bundle.graph(name), contract)
    try:
        return {"zeros": outputs(graph, False), "pattern": outputs(graph, True)}
    finally:
        backend.close()


def outputs(graph: Graph, patterned: bool) -> dict[str, dict[str, Any]]:
    """Runs a graph once and returns the facts of what it computed."""
    contract = graph.contract
    sizes = dict.fromkeys(contract.symbols, 1)
    state = None
    if contract.state:
        state = graph.new_state(1)
        sizes["capacity"] = state.capacity  # an engine has one size
    bound = graph.bind(sizes, state)
    for name, array in bound.inputs.items():
        fill(contract.input(name), array, patterned)
    bound.run()
    return {
        spec.name: facts(spec, bound.outputs[spec.name], sizes)
        for spec in contract.outputs
        if spec.name in bound.outputs
    }


def fill(spec: TensorSpec, array: Array, patterned: bool) -> None:
    """Writes an input: zeros, or numbers in [-1, 1] that are the same on every machine.

    Masks allow what there is: of a cache, the row that this call writes. Indices are zeros.
    """
    array[...] = 0
    if spec.dtype == "bool":
        array[...] = True
        if "capacity" in spec.axes:
            array[..., 1:] = False
    elif patterned and spec.dtype == "f32":
        array[...] = (np.arange(array.size) * 7919 % 251 / 125 - 1).reshape(array.shape)


def facts(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> dict[str, Any]:
    """Returns what is to be known of an output, and what is wrong with it."""
    wanted = f"{spec.dtype}{list(spec.shape(sizes))}"
    names = {dtype: name for name, dtype in NUMPY_DTYPES.items()}
    found = f"{names.get(array.dtype, array.dtype)}{list(array.shape)}"
    values = widened(np.ravel(array)).astype(np.float64)
    odd = int((~np.isfinite(values)).sum())
    kept = values[np.linspace(0, values.size - 1, SAMPLES).astype(int)] if values.size else values
    return {
        "tensor": found,
        **({} if found == wanted else {"wanted": wanted}),
        "odd": odd,
        "values": [] if odd else [float(f"{value:.7g}") for value in kept],
    }
