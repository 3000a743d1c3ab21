"""`python -m tools.bench.kernels BUNDLE`: how many kernels a step launches on a GPU.

Counts the nodes of the step graphs that launch at least one kernel, as the bundle has them and
lowered for CUDA. Nodes that only name or reshape a tensor, and those that compute shapes on the
host, launch none. ONNX Runtime itself makes one node of x * sigmoid(x) (1.32, seen in the file that
it saves after optimization); nothing else of these graphs does it fuse. No weight is
read but those that the lowering changes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import onnx_ir as ir
from rich.console import Console
from rich.table import Table

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.fused import cuda
from omnijet.engines.lowering.fused.norms import Silu
from omnijet.export.graphfile.loading import load_graph
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import Manifest

GRAPHS = ("thinker_step", "talker_step")
VIEWS = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that give a tensor another shape and move nothing."""
ON_HOST = frozenset({"Shape", "Size"})
SHAPED = frozenset({"ConstantOfShape", "Expand", "Slice"})
"""Operators that read a shape on the host and write on the device."""


def launching(graph: ir.Graph) -> list[ir.Node]:
    """Returns the nodes that launch at least one kernel."""
    on_host = host_values(graph)
    return [n for n in graph if n.op_type not in VIEWS and not on_host & set(n.outputs)]


def host_values(graph: ir.Graph) -> set[ir.Value]:
    """Returns the values that the host computes, from shapes and constants alone."""
    on_host: set[ir.Value] = set()
    for node in graph:
        if node.op_type in ON_HOST or _computes_a_shape(node, on_host):
            on_host.update(node.outputs)
    return on_host


def _computes_a_shape(node: ir.Node, on_host: set[ir.Value]) -> bool:
    """Returns whether a node reads constants and values of the host alone, and makes such."""
    inputs = {value for value in node.inputs if value is not None and not _is_constant(value)}
    return bool(inputs) and inputs <= on_host and node.op_type not in SHAPED


def _is_constant(value: ir.Value) -> bool:
    maker = value.producer()
    return value.const_value is not None or (maker is not None and maker.op_type == "Constant")


def canonical(source: Path) -> ir.Graph:
    """Reads a graph, fused as ONNX Runtime does it."""
    model = load_graph(source)
    Silu()(model)
    return model.graph


def lowered(source: Path, contract: GraphContract) -> ir.Graph:
    """Reads a graph and lowers it for CUDA; weights that stay are not copied."""
    model = load_graph(source)
    with (
        tempfile.TemporaryDirectory() as folder,
        WeightPages(Path(folder), "replaced.weights") as pages,
    ):
        for one in cuda.lower.passes(Constants(model.graph, pages), contract):
            one(model)
    return model.graph


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--ops", action="store_true", help="print the operators, too")
    args = parser.parse_args()
    manifest, console = Manifest.read(args.bundle), Console()
    columns = ("graph", "layers", "before", "after", "a layer before", "after")
    table = Table(*columns, title=f"kernels of a step, {args.bundle.name}")
    for name in (one for one in GRAPHS if one in manifest.graphs):
        source = args.bundle / manifest.graphs[name].file
        contract = manifest.contracts[name]
        layers = len(contract.state) // 2
        graphs = canonical(source), lowered(source, contract)
        counts = [Counter(node.op_type for node in launching(graph)) for graph in graphs]
        totals = [sum(count.values()) for count in counts]
        table.add_row(name, str(layers), *map(str, totals),
                      *(f"{total / layers:.1f}" for total in totals))  # fmt: skip
        for title, count in zip(("before", "after"), counts, strict=True) if args.ops else ():
            text = ", ".join(f"{kind} {number}" for kind, number in count.most_common())
            console.print(f"{name} {title}: {text}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
