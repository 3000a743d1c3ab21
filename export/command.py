"""`omnijet export CHECKPOINT BUNDLE`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import get_args

from export.hub import resolve
from export.stages import export_bundle
from runtime.commands.console import byte_progress, size_text
from runtime.contract import Precision


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="folder, or hub id such as Qwen/Qwen2.5-Omni-3B"
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder to write")
    parser.add_argument(
        "--dtype",
        choices=get_args(Precision),
        default="f32",
        help="of Thinker, Talker and encoders (speech synthesis stays f32); default f32; bf16 runs "
        "on GPUs only",
    )
    parser.add_argument("--force", action="store_true", help="replace BUNDLE if it exists")


def run(args: Namespace) -> int:
    """Exports and says what was written."""
    source = resolve(args.checkpoint)
    with byte_progress() as progress:
        task = progress.add_task("reading", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        manifest = export_bundle(
            source, args.bundle, args.dtype, replace=args.force, progress=report
        )
    total = sum(entry.bytes for entry in manifest.files.values())
    print(f"{args.bundle}: {len(manifest.graphs)} graphs, {size_text(total)}, {args.dtype}")
    print(f"next: omnijet check {args.bundle}")
    return 0
