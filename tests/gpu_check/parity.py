"""`python -m tests.gpu_check.parity BUNDLE GRAPH --engines T`: a graph there and on the processor.

Five calls of a graph, so that a captured one is among them; a decoder's prefill and six steps.
Prints one line of JSON: the lowest signal-to-noise ratio of each output and what a call takes.
Exit code 1 below the limit. A graph in bf16 is skipped: the processor has nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from engines.polygraphy import computes_in
from runtime.backend import Backend, Bound, Graph
from runtime.bundle import Bundle
from runtime.commands.opening import add_backend
from runtime.contract import Array
from runtime.ort import OrtBackend
from runtime.providers import backend_for
from tests.quantization.graphs import SIZES, feeds

LIMIT_DB = {"f32": 40.0, "f16": 25.0}  # GPUs multiply f32 in TF32: ten bits of mantissa
CALLS, STEPS, TIMED = 5, 6, 20
PROMPT = SIZES["rows"]

Outputs = dict[str, Array]


def outputs(graph: Graph) -> Iterator[tuple[Outputs, Bound]]:
    """What each call gives, and what it ran in."""
    yield from _steps(graph) if graph.contract.state else _calls(graph)


def _calls(graph: Graph) -> Iterator[tuple[Outputs, Bound]]:
    bound = graph.bind({symbol: SIZES[symbol] for symbol in graph.contract.symbols})
    for seed in range(CALLS):
        for name, array in feeds(graph.contract, seed).items():
            bound.inputs[name][...] = array
        bound.run()
        yield {name: array.copy() for name, array in bound.outputs.items()}, bound


def _steps(graph: Graph) -> Iterator[tuple[Outputs, Bound]]:
    """Capacities differ from backend to backend, and what lies beyond the rows is masked."""
    state = graph.new_state(SIZES["capacity"])
    prompt = graph.bind({"rows": PROMPT, "capacity": state.capacity}, state)
    step = graph.bind({"rows": 1, "capacity": state.capacity}, state)
    filled = 0
    for number in range(1 + STEPS):
        bound = step if number else prompt
        rows = 1 if number else PROMPT
        made = feeds(graph.contract, number)
        for name in ("embeds", "cos", "sin"):
            bound.inputs[name][...] = made[name][:, :rows]
        seen = np.arange(state.capacity) <= filled + np.arange(rows)[:, None]
        bound.inputs["mask"][0, 0] = seen
        bound.inputs["write_index"][...] = filled
        bound.run()
        filled += rows
        yield {name: array.copy() for name, array in bound.outputs.items()}, bound


def compare(ours: Graph, theirs: Graph) -> dict[str, float]:
    """Decibels of each output, the worst of all calls; theirs is right."""
    worst: dict[str, float] = {}
    for (one, _), (other, _) in zip(outputs(ours), outputs(theirs), strict=True):
        for name, right in other.items():
            worst[name] = min(worst.get(name, np.inf), _snr(right, one[name]))
    return worst


def _snr(right: Array, other: Array) -> float:
    """-inf for what is not finite."""
    if not np.isfinite(other).all():
        return -np.inf
    wrong = np.square(right.astype(np.float64) - other).sum()
    return float(10 * np.log10(np.square(right.astype(np.float64)).sum() / max(wrong, 1e-30)))


def call_us(graph: Graph) -> float:
    """Microseconds of a call, the outputs taken; of a decoder, of a step."""
    bound = None
    for _, last in outputs(graph):
        bound = last
    assert bound is not None
    times = []
    for _ in range(TIMED):
        began = perf_counter()
        for name in bound.inputs:
            bound.inputs[name]
        bound.run()
        for name in bound.outputs:
            bound.outputs[name]
        times.append(1e6 * (perf_counter() - began))
    return median(times)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("graph")
    add_backend(parser)
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    args = parsed(words)
    bundle = Bundle.open(args.bundle)
    contract = bundle.manifest.contracts[args.graph]
    if computes_in(bundle.manifest, contract) == "bf16":
        print(json.dumps({"skipped": "the CPU of ONNX Runtime has no bf16"}))
        return 0

    def loaded(backend: Backend) -> Graph:
        return backend.load(bundle.graph(args.graph), contract)

    ours = loaded(backend_for(bundle, args.provider, args.engines))
    worst = compare(ours, loaded(OrtBackend(integer_products=False)))
    # of a bundle in bf16, what is not skipped is in f32
    limit = LIMIT_DB.get(bundle.manifest.precision, LIMIT_DB["f32"])
    passed = min(worst.values()) >= limit
    print(json.dumps({"snr_db": worst, "limit_db": limit, "call_us": call_us(ours)}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
