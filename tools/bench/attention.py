"""`python -m tools.bench.attention`: what a layer's attention costs on this CPU, by form.

One layer with the Thinker's sizes (3B by default) in f32: it writes new rows into its caches, in
place, and attends. The forms compute the same, which is checked first. Each takes turns over
several sets of caches, so that these are read from memory as in a model. Times are medians of wall
time; run it alone on the machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from omnijet.engines.lowering.attention import UNSEEN
from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.decoder import PREFILL_ROWS
from omnijet.runtime.profiling.machine import machine

FILLED = (128, 2048, 8192, 32_768)
ROWS = (1, 2, 4)
FLOAT, INT32, INT64, BOOL = (
    TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
)  # fmt: skip
CACHES = ("keys", "values")
SPILLED_BYTES = 64 << 20
"""Caches of this size together do not stay in the processor."""
SECONDS = 0.15  # of each measurement, at least


@dataclass(frozen=True, slots=True)
class Step:
    """The sizes of a step.

    Attributes:
        filled: rows of the caches after the step.
        capacity: rows that the caches hold.
    """

    heads: int
    kv_heads: int
    width: int
    rows: int
    filled: int
    capacity: int

    @property
    def read_bytes(self) -> int:
        """Bytes of the filled keys and values."""
        return 2 * self.kv_heads * self.filled * self.width * 4

    def inputs(self) -> dict[str, Array]:
        random = np.random.default_rng(0)
        found = {
            name: random.standard_normal((1, heads, self.rows, self.width)).astype(np.float32)
            for name, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads))
        }
        before = self.filled - self.rows
        seen = before + np.arange(1, self.rows + 1)
        mask = (np.arange(self.capacity) < seen[:, None])[None, None]
        flat = {f"{name}_flat": array.swapaxes(1, 2).reshape(1, self.rows, -1)
                for name, array in found.items()}  # fmt: skip
        return found | {name: array.copy() for name, array in flat.items()} | {
            "write_index": np.array([before]),
            "filled": np.array([self.filled]),
            "last": np.array([self.filled - 1], np.int32),
            "length": np.array([self.filled], np.int32),
            "mask": mask,
            "penalty": np.where(mask, np.float32(0), UNSEEN),
        }  # fmt: skip

    def caches(self, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        shape = (1, self.kv_heads, self.capacity, self.width)
        return {name: random.random(shape, np.float32) - np.float32(0.5) for name in CACHES}


def writes() -> list[NodeProto]:
    pairs = (("keys", "k"), ("values", "v"))
    return [
        helper.make_node("TensorScatter", [old, new, "write_index"], [f"{old}_next"], axis=2)
        for old, new in pairs
    ]


def masked(step: Step) -> list[NodeProto]:
    """The canonical form."""
    read = ["q", "keys_next", "values_next", "mask"]
    return [*writes(), helper.make_node("Attention", read, ["y"])]


def told(step: Step) -> list[NodeProto]:
    """Causal order, and the number of filled rows."""
    read = ["q", "keys_next", "values_next", "", "", "", "filled"]
    return [*writes(), helper.make_node("Attention", read, ["y"], is_causal=1)]


def one_operator(step: Step) -> list[NodeProto]:
    """GroupQueryAttention, which writes the caches, too."""
    read = ["q_flat", "k_flat", "v_flat", *CACHES, "last", "length"]
    made = ["y", "keys_next", "values_next"]
    heads = {"num_heads": step.heads, "kv_num_heads": step.kv_heads}
    return [helper.make_node("GroupQueryAttention", read, made, domain=DOMAIN, **heads)]


def grouped(step: Step) -> list[NodeProto]:
    """The query heads of a KV head as rows of one product."""
    scale = step.width**-0.5
    return [
        *writes(),
        helper.make_node("Reshape", ["q", "group"], ["queries"]),
        helper.make_node("FusedMatMul", ["queries", "keys_next"], ["products"], domain=DOMAIN,
                         transB=1, alpha=scale),
        helper.make_node("Reshape", ["products", "ungroup"], ["scores"]),
        helper.make_node("Add", ["scores", "penalty"], ["visible"]),
        helper.make_node("Softmax", ["visible"], ["shares"], axis=-1),
        helper.make_node("Reshape", ["shares", "group_again"], ["rows_shares"]),
        helper.make_node("MatMul", ["rows_shares", "values_next"], ["seen"]),
        helper.make_node("Reshape", ["seen", "heads"], ["y"]),
    ]  # fmt: skip


FORMS: Mapping[str, Callable[[Step], list[NodeProto]]] = {
    "Attention, mask": masked,
    "Attention, rows told": told,
    "GroupQueryAttention": one_operator,
    "grouped products": grouped,
}


def constants(step: Step) -> dict[str, Array]:
    return {
        "group": np.array([1, step.kv_heads, -1, step.width]),
        "ungroup": np.array([1, step.heads, step.rows, step.capacity]),
        "group_again": np.array([1, step.kv_heads, -1, step.capacity]),
        "heads": np.array([1, step.heads, step.rows, step.width]),
    }


def model(step: Step, nodes: list[NodeProto]) -> ModelProto:
    """Returns a graph with the inputs and constants that the nodes read."""
    read = {name for node in nodes for name in node.input}
    codes = {np.float32: FLOAT, np.int32: INT32, np.int64: INT64, np.bool_: BOOL}
    inputs = [helper.make_tensor_value_info(name, codes[array.dtype.type], array.shape)
              for name, array in step.inputs().items() if name in read]  # fmt: skip
    cache = (1, step.kv_heads, step.capacity, step.width)
    inputs += [helper.make_tensor_value_info(name, FLOAT, cache) for name in CACHES]
    outputs = [helper.make_tensor_value_info("y", FLOAT, None)]
    outputs += [helper.make_tensor_value_info(f"{name}_next", FLOAT, cache) for name in CACHES]
    fixed = [numpy_helper.from_array(array, name)
             for name, array in constants(step).items() if name in read]  # fmt: skip
    graph = helper.make_graph(nodes, "attention", inputs, outputs, initializer=fixed)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def runs(step: Step, form: str, threads: int) -> list[Callable[[], Array]]:
    """Returns calls of a step, each over caches of its own; a call returns what was attended."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    content = model(step, FORMS[form](step)).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    of = onnxruntime.OrtValue.ortvalue_from_numpy
    size = 2 * step.kv_heads * step.capacity * step.width * 4
    given = {name: of(array) for name, array in step.inputs().items() if name in names}
    calls = []
    for seed in range(max(1, min(16, SPILLED_BYTES // size))):
        caches = {name: of(array) for name, array in step.caches(seed).items()}
        binding = session.io_binding()
        for name, value in (given | caches).items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("y")
        for name, value in caches.items():
            binding.bind_ortvalue_output(f"{name}_next", value)

        def call(binding: Any = binding, kept: Any = (given, caches)) -> Array:
            session.run_with_iobinding(binding)
            found: Array = binding.get_outputs()[0].numpy()
            return found

        calls.append(call)
    return calls


def seconds(calls: list[Callable[[], Array]]) -> float:
    """Returns the median time of a call."""
    for call in calls:
        call()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 2 * len(calls):
        for call in calls:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return float(np.median(times))


def require_equal(step: Step) -> None:
    """Checks that all forms attend alike."""
    found = {form: runs(step, form, 1)[0]().copy() for form in FORMS}
    wanted = found["Attention, mask"]
    for form, y in found.items():
        rows = y if y.ndim == 4 else y.reshape(1, step.rows, step.heads, -1).swapaxes(1, 2)
        difference = float(np.abs(rows - wanted).max() / np.abs(wanted).max())
        if not difference < 1e-5:
            raise SystemExit(f"{form} differs by {difference} at {step}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filled", type=int, nargs="+", default=FILLED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--bandwidth", type=float, default=34, help="GB/s of this machine")
    args = parser.parse_args()
    sizes = args.heads, args.kv_heads, args.width
    console = Console(width=120)
    console.print(machine())
    require_equal(Step(*sizes, rows=3, filled=133, capacity=256))
    table = Table("rows", "filled", "capacity", *FORMS, "bytes alone",
                  title=f"ms of a layer, {args.threads} threads")  # fmt: skip
    cases = []
    for filled in args.filled:
        cases += [(rows, filled, filled) for rows in ROWS]
        cases += [(1, filled, 2 * filled)] * (filled < FILLED[-1])  # a cache that has just doubled
        cases += [(PREFILL_ROWS, filled, filled)] * (PREFILL_ROWS < filled < FILLED[-1])
    for rows, filled, capacity in cases:
        step = Step(*sizes, rows, filled, capacity)
        times = [1e3 * seconds(runs(step, form, args.threads)) for form in FORMS]
        floor = step.read_bytes / args.bandwidth / 1e6
        cells = (rows, filled, capacity, *(f"{one:.2f}" for one in times), f"{floor:.2f}")
        table.add_row(*map(str, cells))
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
