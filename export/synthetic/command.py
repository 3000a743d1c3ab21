"""The command `omnijet synthesize PRESET FOLDER`, which writes a random checkpoint."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import PRESETS, preset
from omnijet.runtime.commands.console import byte_progress, whole_number
from omnijet.runtime.files.printable import show


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("preset", choices=sorted(PRESETS), metavar="PRESET", help="|".join(PRESETS))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N")


def run(args: Namespace) -> int:
    """Writes the checkpoint."""
    with byte_progress() as progress:
        task = progress.add_task("synthesizing", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        write_checkpoint(args.folder, preset(args.preset), seed=args.seed, progress=report)
    show(f"{args.folder}: {args.preset}, seed {args.seed}")
    return 0
