r"""`python -m tools.bench.modelopt BUNDLE --python PYTHON`: errors compared with nvidia-modelopt.

The layers of a float bundle, with the activations that they met in the calibration set's
conversations, go through `quantization` here and through nvidia-modelopt in a process and an
environment of its own:

    python -m venv build/modelopt-venv
    build/modelopt-venv/bin/pip install torch==2.13.0
    build/modelopt-venv/bin/pip install --no-deps nvidia-modelopt==0.47.0
    build/modelopt-venv/bin/pip install onnx~=1.21.0 onnxruntime~=1.24.2 onnx-graphsurgeon \
        onnxslim onnxscript onnxconverter-common~=1.16.0 polygraphy lief cppimport ml_dtypes \
        numpy scipy nvidia-ml-py tqdm pyyaml 'omegaconf>=2.3' 'pulp<4' 'pydantic>=2' regex rich \
        safetensors packaging 'setuptools>=80'
    python -m tools.bench.modelopt BUNDLE --python build/modelopt-venv/bin/python

(`nvidia-modelopt[onnx]` asks for onnxruntime-gpu and cupy, gigabytes that only a GPU has use for.)

modelopt's onnx does not know all operators of our graphs. Each graph therefore becomes a bank:
one input for each activation, one MatMul for each layer, opset 21. Both calibrate on the same
rows of every second four conversations; errors are those of outputs on rows of the others:
squared difference over squared output, layer by layer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from omnijet.quantization.calibration.calibrate import calibrate
from omnijet.quantization.calibration.conversations import open_conversations
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.apply import change_of, common_divisor, snr_db
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.quantize import bundle_layers
from omnijet.quantization.schemes import Scheme, WeightScheme, both
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.bench import machine

PEER = Path(__file__).parent / "modelopt_peer.py"
GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step")
LIMITS = Limits(text_tokens=64, codes=64, rows=64)
KINDS = 4  # of conversations, which take turns in the built-in set

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our schemes and the modelopt method that it is compared with."""

    ours: Scheme
    method: str

    @property
    def mode(self) -> str:
        return self.ours.weights.dtype

    @property
    def block(self) -> int | None:
        return self.ours.weights.block

    @property
    def job(self) -> str:
        """The name of the modelopt run, which several pairs may share."""
        return f"{self.mode}_{self.method}" + (f"_{self.block}" if self.block else "")

    @property
    def options(self) -> dict[str, Any]:
        made: dict[str, Any] = {"quantize_mode": self.mode, "calibration_method": self.method}
        if self.block:
            return {**made, "block_size": self.block}
        return {**made, "op_types_to_quantize": ["MatMul"]}

    def takes(self, layer: Layer) -> bool:
        return self.ours.weights.fits(layer.inputs)


def _pairs() -> tuple[Pair, ...]:
    made = []
    for block in (64, 128):
        made.append(Pair(Scheme(WeightScheme("int4", block)), "rtn_dq"))
        scaled = Scheme(WeightScheme("int4", block, scaling=True))
        made += [Pair(scaled, method) for method in ("awq_lite", "awq_clip", "awq_full")]
        compensated = Scheme(WeightScheme("int4", block, compensated=True))
        made.append(Pair(compensated, "awq_clip"))
    for dtype in ("int8", "fp8"):
        ways = (("max", None), ("max", 0.5), ("mse", None), ("entropy", None))
        for (ranging, migration), method in zip(
            ways, ("max", "max", "entropy", "entropy"), strict=True
        ):
            made.append(Pair(both(dtype, ranging, migration), method))
    return tuple(made)


PAIRS = _pairs()
NO_WORSE = 1.001  # times their error: sums of floats differ by their order


@dataclass(frozen=True, slots=True)
class Outcome:
    """The relative squared error of one layer's output, and its bytes with 16-bit scales."""

    error: float
    nbytes: int


@dataclass(slots=True)
class Bank:
    """The layers of one graph.

    Attributes:
        layers: The layers, in the order of the nodes.
        weights: The weight of each layer, f32[inputs, outputs].
        seen: The calibration statistics of each activation.
        held: The held-out rows of each activation, on which errors are measured.
        names: The graph input of each activation.
    """

    layers: list[Layer]
    weights: list[Array]
    seen: dict[str, Statistics]
    held: dict[str, Array]
    names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {name: f"x{index:04}" for index, name in enumerate(self.seen)}

    def save(self, folder: Path, jobs: Sequence[Pair]) -> None:
        """Writes the files that the peer reads."""
        nodes = [
            helper.make_node("MatMul", [self.names[layer.activation], f"w{index:04}"],
                             [f"y{index:04}"], name=f"node_{index:04}")
            for index, layer in enumerate(self.layers)
        ]  # fmt: skip
        inputs = [
            helper.make_tensor_value_info(self.names[name], TensorProto.FLOAT, [f"rows_{name}",
                                                                                stats.inputs])
            for name, stats in self.seen.items()
        ]  # fmt: skip
        outputs = [
            helper.make_tensor_value_info(f"y{index:04}", TensorProto.FLOAT, [None, layer.outputs])
            for index, layer in enumerate(self.layers)
        ]
        weights = [numpy_helper.from_array(w, f"w{i:04}") for i, w in enumerate(self.weights)]
        graph = helper.make_graph(nodes, "bank", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.save(model, folder / "bank.onnx")
        rows = {self.names[name]: stats.sample for name, stats in self.seen.items()}
        np.savez(folder / "rows.npz", **rows)
        made = []
        for pair in {pair.job: pair for pair in jobs}.values():
            skip = [f"node_{i:04}" for i, layer in enumerate(self.layers) if not pair.takes(layer)]
            made.append({"name": pair.job, "skip": skip, **pair.options})
        (folder / "jobs.json").write_text(json.dumps(made))

    def ours(self, scheme: Scheme, taken: Sequence[bool]) -> dict[int, Outcome]:
        """Quantizes as `quantize_bundle` does: layers that share an activation share a divisor."""
        made = {}
        for name, stats in self.seen.items():
            mine = [index for index, layer in enumerate(self.layers)
                    if taken[index] and layer.activation == name]  # fmt: skip
            if not mine:
                continue
            divisor = common_divisor([self.weights[index] for index in mine], scheme, stats)
            for index in mine:
                change = change_of(self.weights[index], scheme, stats, divisor)
                db = snr_db(self.weights[index], change, self.held[name])
                made[index] = Outcome(10 ** (-db / 10), change.weight.stored_bytes(2))
        return made

    def theirs(self, path: Path, bits: int, taken: Sequence[bool]) -> dict[int, Outcome]:
        """Runs the graph that modelopt wrote, unoptimized."""
        options = ort.SessionOptions()
        # fused operators may round differently
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {self.names[name]: rows for name, rows in self.held.items()}
        outputs = session.run([f"y{index:04}" for index in range(len(self.layers))], feed)
        model = onnx.load(path)
        scales = {item.name: int(np.prod(item.dims)) for item in model.graph.initializer
                  if item.name.endswith("_scale") and item.name.startswith("w")}  # fmt: skip
        made = {}
        for index, (layer, output) in enumerate(zip(self.layers, outputs, strict=True)):
            if not taken[index]:
                continue
            exact = self.held[layer.activation] @ self.weights[index]
            error = float(np.square(output - exact, dtype=np.float64).sum())
            error /= float(np.square(exact, dtype=np.float64).sum())
            nbytes = layer.parameters * bits // 8 + 2 * scales[f"w{index:04}_scale"]
            made[index] = Outcome(error, nbytes)
        return made


def half(bundle: Bundle, layers: Sequence[Layer], odd: bool, count: int, work: Path,
         seed: int) -> Mapping[tuple[str, str], Statistics]:  # fmt: skip
    """Returns statistics of one half of the built-in set: every second group of four."""
    wanted: dict[str, set[str]] = {}
    for layer in layers:
        wanted.setdefault(layer.graph, set()).add(layer.activation)
    with open_conversations() as built_in:
        chosen = [item for number, item in enumerate(built_in.items)
                  if number // KINDS % 2 == odd][:count]  # fmt: skip
        data = work / f"half_{int(odd)}.jsonl"
        data.write_text("".join(json.dumps(item.messages) + "\n" for item in chosen))
        return calibrate(bundle.folder, wanted, data, seed=seed, limits=LIMITS, threads=1,
                         state_path=work / f"half_{int(odd)}.npz")  # fmt: skip


def banks(bundle: Bundle, count: int, work: Path) -> dict[str, Bank]:
    """Returns the bank of each graph; both sides calibrate on the same sampled rows."""
    layers = [layer for layer in bundle_layers(bundle) if layer.graph in GRAPHS]
    seen = half(bundle, layers, False, count, work, seed=0)
    held = half(bundle, layers, True, count, work, seed=1)
    made = {}
    for graph in GRAPHS:
        mine = [layer for layer in layers if layer.graph == graph]
        contract = bundle.manifest.contracts[graph]
        reader = GraphWriter(bundle.graph(graph), contract, work / "unused")
        weights = [reader.read(layer).astype(np.float32) for layer in mine]
        activations = list(dict.fromkeys(layer.activation for layer in mine))
        same = {}
        for name in activations:
            same[name] = Statistics(seen[graph, name].inputs, 0)
            same[name].update(seen[graph, name].sample)
        rows = {name: held[graph, name].sample for name in activations}
        made[graph] = Bank(mine, weights, same, rows)
    return made


@dataclass(slots=True)
class Column:
    """The results of one pair over all layers."""

    pair: Pair
    names: list[str] = field(default_factory=list)
    ours: list[Outcome] = field(default_factory=list)
    theirs: list[Outcome] = field(default_factory=list)

    def add(self, bank: Bank, ours: dict[int, Outcome], theirs: dict[int, Outcome]) -> None:
        for index in ours:
            layer = bank.layers[index]
            self.names.append(f"{layer.graph} {layer.name}")
            self.ours.append(ours[index])
            self.theirs.append(theirs[index])

    def row(self) -> tuple[str, ...]:
        ours = np.array([outcome.error for outcome in self.ours])
        theirs = np.array([outcome.error for outcome in self.theirs])
        ratio = ours / theirs
        size = sum(one.nbytes for one in self.ours) / sum(one.nbytes for one in self.theirs)
        worst = int(ratio.argmax())
        return (
            str(self.pair.ours), f"{self.pair.mode} {self.pair.method}",
            f"{size:.3f}", f"{np.median(_db(ours)):.1f}", f"{np.median(_db(theirs)):.1f}",
            f"{np.exp(np.log(ratio).mean()):.3f}", f"{np.median(ratio):.3f}",
            f"{ratio[worst]:.2f}: {self.names[worst]}",
            f"{(ratio <= NO_WORSE).sum()} / {len(ratio)}",
        )  # fmt: skip


def _db(error: Array) -> Array:
    return -10 * np.log10(error)


def compare(bank: Bank, folder: Path, python: Path, columns: Sequence[Column]) -> None:
    """Runs one graph through all pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    bank.save(folder, [column.pair for column in columns])
    subprocess.run(
        [python, PEER, folder], check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL, stderr=(folder / "peer.log").open("w"),
    )  # fmt: skip
    known: dict[str, dict[int, Outcome]] = {}
    for column in columns:
        pair = column.pair
        taken = [pair.takes(layer) for layer in bank.layers]
        theirs = known.setdefault(
            pair.job,
            bank.theirs(folder / f"{pair.job}.onnx", 4 if pair.block else 8, taken),
        )
        column.add(bank, bank.ours(pair.ours, taken), theirs)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.modelopt")
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--python", type=Path, required=True, help="interpreter of an environment with modelopt"
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench_modelopt"),
                        help="folder for calibration state and modelopt's files")  # fmt: skip
    parser.add_argument(
        "--conversations", type=int, default=32, help="most conversations of each half"
    )
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    columns = [Column(pair) for pair in PAIRS]
    for graph, bank in banks(Bundle.open(args.bundle), args.conversations, args.work).items():
        print(graph, f"{len(bank.layers)} layers", file=sys.stderr, flush=True)
        compare(bank, args.work / graph, args.python, columns)
    table = Table(
        "ours", "modelopt", "bytes, ours / theirs", "ours, median dB", "theirs, median dB",
        "error, ours / theirs: geometric mean", "median", "worst", "no worse",
    )  # fmt: skip
    for column in columns:
        table.add_row(*column.row())
    print(machine())
    Console(width=200).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
