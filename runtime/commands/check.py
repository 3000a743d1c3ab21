"""`omnijet check BUNDLE`: verifies every file's hash and every graph's boundary."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from omnijet.runtime.backends.ort_cpu import OLDEST_TEXT, OrtBackend, declared, reads_graphs
from omnijet.runtime.bundle.contract import verify
from omnijet.runtime.bundle.folder import Bundle, check_files, left_out, rebuild_command
from omnijet.runtime.bundle.manifest import ENGINES
from omnijet.runtime.bundle.numbers import Odd
from omnijet.runtime.commands.console import (
    add_format,
    byte_progress,
    print_json,
    print_table,
    size_text,
)
from omnijet.runtime.errors import OmnijetError

NOT_CHECKED = f"not checked: this onnxruntime is too old (needs {OLDEST_TEXT})"
LEFT_OUT = "left out: there is an engine of it"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder to verify")
    add_format(parser)


def run(args: Namespace, deep: Callable[[Bundle], list[str]] | None = None) -> int:
    """Prints a verdict per graph. The exit code is 2 if anything differs.

    Args:
        args: The options.
        deep: Looks for more faults, which cost time to find; returns one line for each.
    """
    bundle = Bundle.open(args.bundle)
    absent = left_out(bundle.folder, bundle.manifest)
    there = [entry for name, entry in bundle.manifest.files.items() if name not in absent]
    total = sum(entry.bytes for entry in there)
    with byte_progress() as progress:
        task = progress.add_task("hashing", total=total)
        faults = check_files(bundle, lambda count: progress.advance(task, count))
    count = len(there)
    right = count - min(len(faults), count)
    faults += _check_tables(bundle)
    if deep is not None:
        whole = right == count
        faults += deep(bundle) if whole else ["weights: not read, because files are damaged"]
    verdicts = _check_graphs(bundle)
    fine = ("ok", NOT_CHECKED, LEFT_OUT)
    bad = len(faults) + sum(verdict not in fine for verdict in verdicts.values())
    if args.format == "json":
        print_json({"bundle": str(args.bundle), "files": faults, "graphs": verdicts, "ok": not bad})
        return 2 if bad else 0
    table = Table("graph", "weights", "contract", title=f"bundle {args.bundle}")
    for name, verdict in verdicts.items():
        size = size_text(bundle.manifest.graphs[name].weight_bytes)
        table.add_row(name, size, verdict)
    print_table(table)
    for fault in faults:
        print(f"FAILED {fault}")
    for target in bundle.manifest.engines:
        if any(fault.startswith(f"{ENGINES}/{target}/") for fault in faults):
            print(f"fix: {rebuild_command(args.bundle, target)} --force")
    print(f"{right} of {count} files as in the manifest, {size_text(total)}")
    print("FAILED" if bad else "PASSED")
    return 2 if bad else 0


def _check_tables(bundle: Bundle) -> list[str]:
    """Reads every table and returns one line for each fault."""
    faults = []
    for name, entry in bundle.manifest.tables.items():
        try:
            table = bundle.table(name)
        except OmnijetError as error:
            faults.append(f"{entry.file}: {error.what}")
            continue
        odd = Odd(entry.dtype, entry.shape)
        odd.add(table.reshape(-1))
        if found := str(odd):
            faults.append(f"{entry.file}: {found}")
    return faults


def _check_graphs(bundle: Bundle) -> dict[str, str]:
    """Returns a verdict for each graph.

    Graphs are loaded. Where ONNX Runtime's CPU has no kernels for their floats, their boundary is
    read from the file instead. An ONNX Runtime that is too old to read the graphs leaves it at
    hashes: engines run the model there.
    """
    if not reads_graphs():
        return dict.fromkeys(bundle.manifest.contracts, NOT_CHECKED)
    backend = OrtBackend(threads=1, optimize=False)
    loaded = bundle.manifest.precision in backend.precisions
    absent = set(left_out(bundle.folder, bundle.manifest).values())
    verdicts = {}
    for name, contract in bundle.manifest.contracts.items():
        if name in absent:
            verdicts[name] = LEFT_OUT
            continue
        path = bundle.graph(name)
        try:
            if loaded:
                backend.load(path, contract)
            else:
                verify(contract, *declared(path, name), path)
            verdicts[name] = "ok"
        except OmnijetError as error:
            verdicts[name] = str(error)
    return verdicts
