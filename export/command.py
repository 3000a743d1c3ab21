"""The command `omnijet export CHECKPOINT BUNDLE`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

from rich.table import Table

from omnijet.export.arguments import add_arguments
from omnijet.export.checkpoint.hub import resolve
from omnijet.export.stages import export_bundle
from omnijet.runtime.commands.console import byte_progress, print_table, size_text
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import show

__all__ = ["add_arguments", "run"]


def run(args: Namespace) -> int:
    """Exports the checkpoint and prints a summary of the bundle."""
    speech = not args.no_speech
    source = resolve(args.checkpoint, speech=speech)
    base = None if args.base is None else resolve(args.base, speech=speech)
    adapters = [resolve(adapter, adapter=True) for adapter in args.adapter]
    with byte_progress() as progress:
        task = progress.add_task("reading", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        manifest = export_bundle(
            source, args.bundle, args.dtype, base=base, adapters=adapters, speech=speech,
            dit=args.dit, replace=args.force, named=args.checkpoint, progress=report,
        )  # fmt: skip
    if origins := manifest.provenance.get("origins"):
        print_table(_origins(origins))
    for named, adapter in zip(args.adapter, manifest.provenance.get("adapters", ()), strict=True):
        show(f"adapter {named}: {adapter['merged']}")
    total = sum(entry.bytes for entry in manifest.files.values())
    show(f"{args.bundle}: {len(manifest.graphs)} graphs, {size_text(total)}, {args.dtype}")
    show(f"next: omnijet check {shell_quoted(args.bundle)}")
    return 0


def _origins(origins: Mapping[str, str]) -> Table:
    """Says which part came from where."""
    table = Table("part", "from")
    for part, origin in origins.items():
        table.add_row(part, origin)
    return table
