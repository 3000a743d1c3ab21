"""`python -m tools.bench.products`: what a quantized product costs on this CPU.

Products with the real models' shapes are written by `GraphWriter`, lowered for the CPU with each
accuracy level, and compared with the same product in f32. The time is the CPU time of one thread,
which other processes disturb less than wall time, and the best of several rounds. Several weights
take turns, so that they are read from memory as in a model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
from rich.console import Console
from rich.table import Table

from omnijet.engines.lowering import cpu
from omnijet.export.graphfile.saved_graph import save_graph
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.runtime.bundle.contract import Array, GraphContract, TensorSpec
from omnijet.runtime.profiling.machine import machine
from tests.quantization.graphs import error, plain_change, session


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a layer, and the rows of one call."""

    name: str
    rows: int
    inputs: int
    outputs: int

    @property
    def copies(self) -> int:
        """The number of weights that take turns."""
        return 2 if self.inputs * self.outputs > 1 << 24 else 4


SHAPES = (
    Shape("Thinker 3B gate_up, decode", 1, 2048, 22016),
    Shape("Thinker 3B gate_up, prefill", 96, 2048, 22016),
    Shape("DiT qkv", 192, 1024, 3072),
    Shape("DiT output", 192, 1024, 1024),
    Shape("DiT up", 192, 1024, 2048),
)
LEVELS = (0, 1, 4)


def contract(shape: Shape) -> GraphContract:
    outputs = [TensorSpec(f"y{i}", "f32", ("rows", shape.outputs)) for i in range(shape.copies)]
    return GraphContract(
        "products", (TensorSpec("x", "f32", ("rows", shape.inputs)),), tuple(outputs)
    )


def write_products(shape: Shape, folder: Path) -> Path:
    """Writes a graph that holds the products alone."""
    random = np.random.default_rng(0)
    f32 = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", shape=ir.Shape(("rows", shape.inputs)), type=f32)
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 24}, name="products")
    folder.mkdir()
    with WeightPages(folder, "products.weights") as pages:
        for index in range(shape.copies):
            values = random.standard_normal((shape.inputs, shape.outputs), np.float32) / 45
            tensor = pages.add(f"{index}.weight", values)
            weight = ir.Value(name=tensor.name, shape=ir.Shape(values.shape), type=f32,
                              const_value=tensor)  # fmt: skip
            graph.register_initializer(weight)
            node = ir.node("MatMul", [x, weight], name=f"product{index}")
            y = node.outputs[0]
            y.name, y.type, y.shape = f"y{index}", f32, ir.Shape(("rows", shape.outputs))
            graph.append(node)
            graph.outputs.append(y)
    save_graph(ir.Model(graph, ir_version=10), contract(shape), folder, 0)
    return folder / "products.onnx"


def quantized(source: Path, shape: Shape, kind: str, target: Path, x: Array) -> Path:
    writer = GraphWriter(source, contract(shape), target)
    for layer in writer.layers:
        change = plain_change(writer.read(layer), kind, None, x)
        assert change is not None
        writer.change(layer, change)
    writer.finish(lambda count: None)
    return target / "products.onnx"


def forms(source: Path, shape: Shape, folder: Path, x: Array) -> Iterator[tuple[str, Path]]:
    """Yields the name and the graph of every way to compute the products."""
    yield "f32", source
    for kind in ("int4", "int8"):
        path = quantized(source, shape, kind, folder / kind, x)
        for level in LEVELS:
            target = folder / f"{kind}-{level}"
            with patch.object(cpu, "accuracy_levels", return_value={4: level, 8: level}):
                cpu.lower(path, contract(shape), target, 0, lambda count: None)
            yield f"{kind} weights, level {level}", target / "products.onnx"
    path = quantized(source, shape, "w8a8", folder / "w8a8", x)
    cpu.lower(path, contract(shape), folder / "w8a8-low", 0, lambda count: None)
    yield "int8 weights and activations", folder / "w8a8-low" / "products.onnx"
    path = quantized(source, shape, "fp8", folder / "fp8", x)
    yield "FP8 weights and activations", path


def measure(path: Path, x: Array, seconds: float) -> tuple[float, list[Array]]:
    """Returns the CPU seconds of one run, and its outputs."""
    ready = session(path, optimize=True)
    result: list[Array] = ready.run(None, {"x": x})
    best, end = np.inf, time.monotonic() + seconds
    while time.monotonic() < end or best == np.inf:
        start = time.process_time()
        ready.run(None, {"x": x})
        best = min(best, time.process_time() - start)
    return best, result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.products", description=__doc__)
    parser.add_argument("--seconds", type=float, help="time for each form (default: 2)")
    seconds = parser.parse_args().seconds or 2.0
    console = Console(width=110)
    console.print(machine())
    for shape in SHAPES:
        table = Table(title=f"{shape.name}: {shape.rows} x {shape.inputs} x {shape.outputs}")
        for column in ("form", "ms a product", "times f32", "GB/s of weights", "GFLOP/s", "error"):
            table.add_column(column, justify="left" if column == "form" else "right")
        random = np.random.default_rng(1)
        x = random.standard_normal((shape.rows, shape.inputs)).astype(np.float32)
        with tempfile.TemporaryDirectory(prefix="omnijet-") as scratch:
            exact: list[Array] | None = None
            plain = 0.0
            for name, path in forms(write_products(shape, Path(scratch) / "f32"), shape,
                                    Path(scratch), x):  # fmt: skip
                spent, found = measure(path, x, seconds)
                each = spent / shape.copies
                exact, plain = (found, each) if exact is None else (exact, plain)
                size = path.with_suffix(".weights").stat().st_size / shape.copies
                work = 2.0 * shape.rows * shape.inputs * shape.outputs
                table.add_row(name, f"{each * 1e3:.2f}", f"{plain / each:.2f}",
                              f"{size / each / 1e9:.1f}", f"{work / each / 1e9:.0f}",
                              f"{error(found, exact):.1e}")  # fmt: skip
        console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
