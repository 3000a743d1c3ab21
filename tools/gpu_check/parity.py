"""`python -m tools.gpu_check.parity BUNDLE GRAPH --engines T`: a graph on the GPU and the CPU.

A graph is called five times, so that a captured call is among them; a decoder does a prefill and
six steps. The program prints one line of JSON: the lowest signal-to-noise ratio of each output, and
the time of a call. The exit code is 1 below the limit. For a graph in bf16 the CPU computes in f32,
with the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from zipfile import BadZipFile

import numpy as np

from omnijet.engines.polygraphy import computes_in
from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_installed import reads_graphs
from omnijet.runtime.backends.protocol import Bound, Graph
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.errors import OmnijetError
from tests.quantization.graphs import SIZES, feeds

LIMIT_DB = {"f32": 40.0, "f16": 25.0, "bf16": 15.0}
"""GPUs multiply f32 in TF32: ten bits of mantissa, as many as f16 has; bf16 has seven."""
CALLS, STEPS, TIMED = 5, 6, 20
PROMPT = SIZES["rows"]

NO_REFERENCE = (
    "this onnxruntime is too old for the graphs; write what they give where there is a newer one, "
    "`python -m tools.gpu_check.parity BUNDLE --write FOLDER`, and give it as --reference FOLDER"
)

Arrays = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Reference:
    """The inputs and the right outputs of several calls of a graph."""

    feeds: list[Arrays]
    outputs: list[Arrays]

    @staticmethod
    def of(graph: Graph) -> Reference:
        """Records the outputs of a graph on made inputs; raises `OmnijetError` if it fails."""
        made = made_feeds(graph.contract)
        return Reference(made, [one for one, _ in outputs(graph, made)])

    def write(self, path: Path, weights: str) -> None:
        """Writes the calls to a file.

        Inputs are written, too: the last bit of a sine differs between machines.

        Args:
            path: The file.
            weights: The sha256 of the graph's weights.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {"in": self.feeds, "out": self.outputs}
        arrays = {
            f"{number}.{kind}.{name}": array
            for kind, calls in kinds.items()
            for number, call in enumerate(calls)
            for name, array in call.items()
        }
        np.savez_compressed(path, **arrays, weights=np.array(weights))

    @staticmethod
    def read(path: Path, weights: str) -> Reference:
        """Reads the calls; raises `OmnijetError` if the file is missing or of other weights."""
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise OmnijetError("there is no reference", where=path, got=error) from error
        if (found := str(arrays.pop("weights", ""))) != weights:
            raise OmnijetError(
                "the reference is of another bundle",
                where=path, expected=f"weights {weights[:16]}…", got=f"weights {found[:16]}…",
                fix="write it with the bundle that is checked",
            )  # fmt: skip
        calls: dict[str, list[Arrays]] = {"in": [], "out": []}
        for key, array in arrays.items():  # in the order of writing
            number, kind, name = key.split(".", 2)
            if int(number) == len(calls[kind]):
                calls[kind].append({})
            calls[kind][int(number)][name] = array
        return Reference(calls["in"], calls["out"])


def made_feeds(contract: GraphContract) -> list[Arrays]:
    """Returns the inputs of each call; a decoder's mask and rows follow from its number."""
    if not contract.state:
        return [feeds(contract, seed) for seed in range(CALLS)]
    made = [feeds(contract, number) for number in range(1 + STEPS)]
    rows = [PROMPT] + STEPS * [1]
    return [
        {name: one[name][:, :count] for name in ("embeds", "cos", "sin")}
        for one, count in zip(made, rows, strict=True)
    ]


def outputs(graph: Graph, made: Sequence[Arrays]) -> Iterator[tuple[Arrays, Bound]]:
    """Yields the outputs of each call, and the bound graph that made them."""
    yield from _steps(graph, made) if graph.contract.state else _calls(graph, made)


def _calls(graph: Graph, made: Sequence[Arrays]) -> Iterator[tuple[Arrays, Bound]]:
    sizes = {symbol: SIZES[symbol] for symbol in graph.contract.symbols}
    bound = graph.bind(sizes, kept=True)  # captured calls are compared, too
    for call in made:
        for name, array in call.items():
            bound.inputs[name][...] = array
        bound.run()
        yield {name: array.copy() for name, array in bound.outputs.items()}, bound


def _steps(graph: Graph, made: Sequence[Arrays]) -> Iterator[tuple[Arrays, Bound]]:
    """Yields the outputs of a decoder: capacities differ by backend, rows beyond are masked."""
    state = graph.new_state(SIZES["capacity"])
    picked = {"picked": SIZES["picked"]} if "picked" in graph.contract.symbols else {}
    prompt, step = (
        graph.bind({**picked, "rows": rows, "capacity": state.capacity}, state)
        for rows in (PROMPT, 1)
    )
    filled = 0
    for number, call in enumerate(made):
        bound = step if number else prompt
        for name, array in call.items():
            bound.inputs[name][...] = array
        rows = call["embeds"].shape[1]
        seen = np.arange(state.capacity) <= filled + np.arange(rows)[:, None]
        bound.inputs["mask"][0, 0] = seen
        bound.inputs["write_index"][...] = filled
        bound.run()
        filled += rows
        yield {name: array.copy() for name, array in bound.outputs.items()}, bound


def compare(ours: Graph, right: Reference) -> dict[str, float]:
    """Returns the lowest decibels of each output over all calls."""
    worst: dict[str, float] = {}
    for (one, _), other in zip(outputs(ours, right.feeds), right.outputs, strict=True):
        for name, wanted in other.items():
            worst[name] = min(worst.get(name, np.inf), snr(wanted, one[name]))
    return worst


def snr(right: Array, other: Array) -> float:
    """Returns the signal-to-noise ratio in decibels; -inf where a value is not finite."""
    if not np.isfinite(other).all():
        return -np.inf
    wrong = np.square(right.astype(np.float64) - other).sum()
    return float(10 * np.log10(np.square(right.astype(np.float64)).sum() / max(wrong, 1e-30)))


def call_us(graph: Graph) -> float:
    """Returns the microseconds of one call, outputs included; of a decoder, of one step."""
    bound = None
    for _, last in outputs(graph, made_feeds(graph.contract)):
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
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check.parity", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("graph", nargs="?", help="all with --write")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--reference", type=Path, help="a folder that --write wrote")
    kept.add_argument("--write", type=Path, help="only keep what the processor gives, in a folder")
    add_backend(parser)
    args = parser.parse_args(words)
    if args.graph is None and args.write is None:
        parser.error("which graph?")
    return args


def main(words: Sequence[str]) -> int:
    args = parsed(words)
    if args.reference is None and not reads_graphs():
        sys.exit(f"omnijet: {NO_REFERENCE}")
    try:
        return _write(args) if args.write else _compare(args)
    except OmnijetError as error:
        print(f"omnijet: {error}", file=sys.stderr)
        return 2


def _write(args: argparse.Namespace) -> int:
    bundle = Bundle.open(args.bundle)
    for name in [args.graph] if args.graph else bundle.manifest.graphs:
        _on_processor(bundle, name).write(args.write / f"{name}.npz", _weights(bundle, name))
        print(f"{name} written", file=sys.stderr)
    return 0


def _compare(args: argparse.Namespace) -> int:
    bundle, name = Bundle.open(args.bundle), args.graph
    if args.reference is None:
        right = _on_processor(bundle, name)
    else:
        right = Reference.read(args.reference / f"{name}.npz", _weights(bundle, name))
    backend = backend_for(bundle, args.provider, args.engines)
    ours = backend.load(bundle.graph(name), bundle.manifest.contracts[name])
    worst = compare(ours, right)
    limit = LIMIT_DB[computes_in(bundle.manifest, bundle.manifest.contracts[name])]
    passed = min(worst.values()) >= limit
    print(json.dumps({"snr_db": worst, "limit_db": limit, "call_us": call_us(ours)}))
    return 0 if passed else 1


def _on_processor(bundle: Bundle, name: str) -> Reference:
    backend = OrtBackend(integer_products=False)
    if bundle.manifest.precision == "bf16":
        from omnijet.engines.widened_backend import WidenedBackend  # a device need not have onnx

        backend = WidenedBackend(integer_products=False)
    return Reference.of(backend.load(bundle.graph(name), bundle.manifest.contracts[name]))


def _weights(bundle: Bundle, name: str) -> str:
    return bundle.manifest.files[bundle.manifest.graphs[name].weights].sha256


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
