"""`omnijet build BUNDLE --target T`: builds engines or graphs for ONNX Runtime."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from importlib import import_module
from pathlib import Path

from omnijet.engines.build_options import LEVELS
from omnijet.engines.listing import print_targets
from omnijet.engines.process import PYTHON_VARIABLE
from omnijet.engines.targets.chosen import add_target
from omnijet.runtime.commands.console import add_format
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.platform import this_platform


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "bundle", type=Path, nargs="?", metavar="BUNDLE", help="the engines go into it"
    )
    add_target(parser)
    parser.add_argument("--list", action="store_true", help="list the targets and stop")
    parser.add_argument("--recipe", metavar="R", help="refuse a bundle that has another recipe")
    parser.add_argument("--graphs", nargs="+", default=(), metavar="G", help="default: all")
    parser.add_argument(
        "--limit", type=_limit, action="append", default=[], metavar="AXIS=N",
        help="largest size instead of the target's, such as capacity=2048 for the context",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be built, and write nothing"
    )
    parser.add_argument("--force", action="store_true", help="rebuild engines that are present")
    parser.add_argument(
        "--ignore-memory", action="store_true",
        help="build even if the memory that was predicted is not free",
    )  # fmt: skip
    parser.add_argument(
        "--python", metavar="PATH",
        help=f"interpreter with the bindings; default: ${PYTHON_VARIABLE}, or this one",
    )  # fmt: skip
    parser.add_argument(
        "--optimization-level", type=int, choices=LEVELS, metavar="N",
        help=f"optimization level of the builder, {LEVELS[0]} to {LEVELS[-1]}",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER",
        help="folder of this machine's kernel timings; default: ~/.cache/omnijet",
    )  # fmt: skip
    parser.add_argument(
        "--no-check", action="store_true",
        help="do not compare what is built with the references of the bundle, where this machine "
        "can run it, and keep it in any case",
    )  # fmt: skip
    parser.add_argument(
        "--polygraphy", action="store_true",
        help="print the commands that compare the engines with ONNX Runtime, and stop",
    )  # fmt: skip
    add_format(parser)


def run(args: Namespace) -> int:
    """Builds engines and prints what was built."""
    if args.list:
        print_targets(this_platform(), args.format)
        return 0
    if args.bundle is None:
        raise OmnijetError(
            "no bundle is given",
            expected="omnijet build BUNDLE --target T",
            fix="`omnijet build --list` shows the targets",
        )
    # needs the extra [quantize], which a list does not
    code: int = import_module("omnijet.engines.building").run(args)
    return code


def _limit(text: str) -> tuple[str, int]:
    symbol, _, size = text.partition("=")
    if not size.isdigit() or int(size) < 1:
        raise ArgumentTypeError(f"expected AXIS=N, got {text!r}")
    return symbol, int(size)
