"""`omnijet inspect PATH`: shows the contents of a bundle, or of one of its graph files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.runtime.bundle.contract import GraphContract, TensorSpec
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import ENGINES, Manifest
from omnijet.runtime.commands.console import add_format, print_json, print_table, size_text
from omnijet.runtime.commands.engines import engine_facts, engine_table
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import show


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a bundle, or a graph file inside one"
    )
    add_format(parser)


def run(args: Namespace) -> int:
    """Prints tables, or one JSON object with the same facts."""
    folder, only = _locate(args.path)
    manifest = Bundle.open(folder).manifest
    names = [name for name in manifest.graphs if only in (None, name)]
    engines = engine_facts(folder, manifest, names)
    if args.format == "json":
        print_json(_facts(manifest, names) | {"engines": engines})
        return 0
    print_table(_graph_table(manifest, names))
    if manifest.quantization:
        print_table(_quantization_table(manifest.quantization))
    if engines:
        print_table(engine_table(engines))
    for name in names:
        print_table(_boundary_table(manifest.contracts[name]))
    if only is None and not manifest.dims.has_voice:
        show("this bundle has no voice: it answers in text only")
    if only is None:
        print_table(_other_files(manifest))
    return 0


def _locate(path: Path) -> tuple[Path, str | None]:
    if path.suffix != ".onnx":
        return path, None
    folder = path.absolute().parent.parent
    manifest = Manifest.read(folder)
    for name, entry in manifest.graphs.items():
        if folder / entry.file == path.absolute():
            return folder, name
    raise OmnijetError(
        "this file is no graph of the bundle",
        where=path,
        expected="one of " + ", ".join(entry.file for entry in manifest.graphs.values()),
    )


def _facts(manifest: Manifest, names: list[str]) -> dict[str, Any]:
    graphs = {}
    for name in names:
        entry = manifest.graphs[name]
        graphs[name] = {
            "file": entry.file,
            "opset": entry.opset,
            "nodes": entry.nodes,
            "parameters": entry.parameters,
            "weight_bytes": entry.weight_bytes,
            "ops": entry.ops,
            "contract": manifest.contracts[name].to_json(),
        }
    return {
        "name": manifest.name,
        "precision": manifest.precision,
        "versions": manifest.versions,
        "provenance": manifest.provenance,
        "quantization": manifest.quantization,
        "voices": list(manifest.voices),
        "graphs": graphs,
        "tables": {
            name: {"dtype": table.dtype, "shape": list(table.shape)}
            for name, table in manifest.tables.items()
        },
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
    }


def _graph_table(manifest: Manifest, names: list[str]) -> Table:
    table = Table(
        "graph",
        "nodes",
        "parameters",
        "weights",
        "operators",
        title=f"{manifest.name} ({manifest.precision})",
    )
    for name in names:
        entry = manifest.graphs[name]
        ops = ", ".join(f"{op} {count}" for op, count in list(entry.ops.items())[:8])
        more = len(entry.ops) - 8
        table.add_row(
            name,
            str(entry.nodes),
            f"{entry.parameters:,}",
            size_text(entry.weight_bytes),
            ops + (f", {more} more kinds" if more > 0 else ""),
        )
    return table


def _quantization_table(quantization: dict[str, Any]) -> Table:
    table = Table("", "", title="quantization", show_header=False)
    for key, value in quantization.items():
        named = value.items() if isinstance(value, dict) else ()
        shown = ", ".join(f"{name} {item}" for name, item in named) or str(value)
        table.add_row(key.replace("_", " "), shown)
    return table


def _boundary_table(contract: GraphContract) -> Table:
    table = Table("", "tensor", "dtype", "axes", title=contract.name)
    carried = {pair.input for pair in contract.state} | {pair.output for pair in contract.state}
    for kind, specs in (("in", contract.inputs), ("out", contract.outputs)):
        plain = [spec for spec in specs if spec.name not in carried]
        state = [spec for spec in specs if spec.name in carried]
        for spec in plain:
            _add_row(table, kind, spec, spec.name)
        if state:
            _add_row(table, kind, state[0], f"{state[0].name} … {state[-1].name} ({len(state)})")
    return table


def _add_row(table: Table, kind: str, spec: TensorSpec, name: str) -> None:
    table.add_row(kind, name, spec.dtype, " × ".join(str(axis) for axis in spec.axes))


def _other_files(manifest: Manifest) -> Table:
    table = Table("file", "size", title="tables, voices and texts")
    for name, entry in manifest.files.items():
        if not name.startswith(("graphs/", f"{ENGINES}/")):
            table.add_row(name, size_text(entry.bytes))
    return table
