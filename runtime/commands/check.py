"""`omnijet check BUNDLE`: verifies every file's hash and every graph's boundary."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from omnijet.runtime.backends.ort_built import BuiltGraphs
from omnijet.runtime.backends.ort_cpu import OrtBackend, declared
from omnijet.runtime.backends.ort_installed import cpu_target, reads_graphs
from omnijet.runtime.backends.ort_release import NEWER, OLDEST_TEXT
from omnijet.runtime.bundle.checked import Record, records_folder
from omnijet.runtime.bundle.contract import verify
from omnijet.runtime.bundle.folder import (
    CHAT_TEMPLATE,
    Bundle,
    check_files,
    left_out,
    rebuild_command,
)
from omnijet.runtime.bundle.manifest import ENGINES, FILE_NAME, Manifest
from omnijet.runtime.bundle.numbers import Odd
from omnijet.runtime.bundle.signature import require_signature
from omnijet.runtime.commands.console import (
    add_format,
    byte_progress,
    print_json,
    print_table,
    say,
    size_text,
)
from omnijet.runtime.commands.references import Compared
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line, show
from omnijet.runtime.prompt.chat import render_chat
from omnijet.runtime.prompt.messages import parse_messages

NOT_CHECKED = (
    f"not checked: this onnxruntime is too old (needs {OLDEST_TEXT}, or `omnijet build BUNDLE "
    f"--target {NEWER}`)"
)
LEFT_OUT = "left out: there is an engine of it"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder to verify")
    parser.add_argument(
        "--require-signature", metavar="KEY",
        help="fail unless the owner of this minisign key, or key file, signed the manifest "
        "(needs omnijet[sign])",
    )  # fmt: skip
    add_format(parser)


def run(
    args: Namespace,
    deep: Callable[[Bundle], list[str]] | None = None,
    compare: Callable[[Bundle], Compared | None] | None = None,
) -> int:
    """Prints a verdict per graph. The exit code is 2 if any file differs, and 1 if what runs here
    computes something else than the references of the bundle.

    Args:
        args: The options.
        deep: Looks for more faults, which cost time to find; returns one line for each.
        compare: Compares with the references, if it can; it is called if the files are right.
    """
    bundle = _opened(args.bundle, args.require_signature)
    with bundle.watch.steady(*bundle.watch.known):
        found = _found(bundle, deep)
    compared = None if compare is None or found.bad else compare(bundle)
    if not found.bad and not Record.of(bundle).write():
        say("nothing can be kept of this check: run and profile will not know of it "
            f"({records_folder() or 'there is no home'} cannot be written)")  # fmt: skip
    if args.format == "json":
        facts = {"files": found.faults, "graphs": found.verdicts, "ok": not found.bad}
        if args.require_signature is not None:
            facts["signed"] = True
        if compared is not None:
            facts |= {"compared": compared.verdicts, "ok": not compared.faults}
        print_json({"bundle": str(args.bundle), **facts})
    else:
        if args.require_signature is not None:
            show("signed: the manifest is what the owner of the key signed")
        _print(args.bundle, bundle, found, compared)
    if found.bad:
        return 2
    return 1 if compared is not None and compared.faults else 0


def _opened(folder: Path, key: str | None) -> Bundle:
    """Opens a bundle whose manifest the owner of `key` signed; nobody needs to if it is None."""
    if key is None:
        return Bundle.open(folder)
    signed = require_signature(folder, key)
    bundle = Bundle.open(folder)
    if Manifest.parsed(signed, folder / FILE_NAME) != bundle.manifest:
        raise OmnijetError(
            "the manifest was replaced while it was checked",
            where=folder / FILE_NAME,
            expected="the one that is signed",
            fix="check the bundle again",
        )
    return bundle


class _Found(NamedTuple):
    """What a check found: faults, a verdict for each graph, and how many files are right."""

    faults: list[str]
    verdicts: dict[str, str]
    right: int
    files: int
    size: int

    @property
    def bad(self) -> int:
        fine = ("ok", NOT_CHECKED, LEFT_OUT)
        return len(self.faults) + sum(verdict not in fine for verdict in self.verdicts.values())


def _found(bundle: Bundle, deep: Callable[[Bundle], list[str]] | None) -> _Found:
    absent = left_out(bundle.folder, bundle.manifest)
    there = {k: entry for k, entry in bundle.manifest.files.items() if k not in absent}
    total = sum(entry.bytes for entry in there.values())
    with byte_progress() as progress:
        task = progress.add_task("hashing", total=total)
        faults = check_files(bundle, lambda count: progress.advance(task, count))
    named = {fault.partition(": ")[0] for fault in faults}
    count, right = len(there), sum(name not in named for name in there)
    faults += _check_tables(bundle)
    faults += _check_template(bundle)
    if deep is not None:
        whole = right == count
        faults += deep(bundle) if whole else ["weights: not read, because files are damaged"]
    return _Found(faults, _check_graphs(bundle), right, count, total)


def _print(named: Path, bundle: Bundle, found: _Found, compared: Compared | None) -> None:
    table = Table("graph", "weights", "contract", title=f"bundle {named}")
    for name, verdict in found.verdicts.items():
        size = size_text(bundle.manifest.graphs[name].weight_bytes)
        table.add_row(name, size, verdict)
    print_table(table)
    for fault in found.faults:
        show(f"FAILED {one_line(fault)}")
    for target in bundle.manifest.engines:
        if any(fault.startswith(f"{ENGINES}/{target}/") for fault in found.faults):
            show(f"fix: {rebuild_command(named, target)} --force")
    show(f"{found.right} of {found.files} files as in the manifest, {size_text(found.size)}")
    if compared is not None:
        compared.show()
    is_wrong = compared is not None and bool(compared.faults)
    show("FAILED" if found.bad or is_wrong else "PASSED")


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


def _check_template(bundle: Bundle) -> list[str]:
    """Writes a question with the chat template, as `run` will; returns one line for a fault."""
    try:
        question = parse_messages([{"role": "user", "content": "Who are you?"}])
        render_chat(question, bundle.text(CHAT_TEMPLATE))
    except OmnijetError as error:
        return [f"{CHAT_TEMPLATE}: {error.what}" + (f": {error.got}" if error.got else "")]
    except OSError:  # a missing file is told already
        pass
    return []


def _check_graphs(bundle: Bundle) -> dict[str, str]:
    """Returns a verdict for each graph.

    Graphs are loaded. Where ONNX Runtime's CPU has no kernels for their floats, their boundary is
    read from the file instead. An ONNX Runtime that is too old to read the graphs loads those that
    were built for it, and leaves others at hashes: engines run the model there.
    """
    built = None if reads_graphs() else BuiltGraphs.of(bundle, cpu_target())
    if built is not None and not built.graphs:
        return dict.fromkeys(bundle.manifest.contracts, NOT_CHECKED)
    backend = OrtBackend(threads=1, optimize=False, built=built)
    loaded = bundle.manifest.precision in backend.precisions
    absent = set(left_out(bundle.folder, bundle.manifest).values())
    verdicts = {}
    for name, contract in bundle.manifest.contracts.items():
        if name in absent:
            verdicts[name] = LEFT_OUT
            continue
        if built is not None and name not in built.graphs:
            verdicts[name] = NOT_CHECKED
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
