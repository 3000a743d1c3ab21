"""The `omnijet` command: a table of verbs, and how faults and signals end one of them.

A verb's module is imported when the verb is asked for: `omnijet --help` loads nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omnijet import __version__
from omnijet.runtime.errors import OmnijetError

DESCRIPTION = "A Qwen2.5-Omni checkpoint as ONNX graphs, and a thin runtime that talks."


@dataclass(frozen=True, slots=True)
class Verb:
    """One sub-command: a module with `add_arguments(parser)` and `run(args) -> exit code`.

    Attributes:
        module: where the sub-command is.
        summary: one line for `--help`.
        extra: the optional dependencies that the module needs, as in `omnijet[extra]`.
    """

    module: str
    summary: str
    extra: str | None = None


VERBS: dict[str, Verb] = {
    "export": Verb("omnijet.export.command", "turn a checkpoint into a bundle", "export"),
    "quantize": Verb(
        "omnijet.quantization.command", "turn floats into integers or FP8, by a recipe", "quantize"
    ),
    "build": Verb("omnijet.engines.command", "build TensorRT engines for one machine", "quantize"),
    "check": Verb(
        "omnijet.quantization.check_command", "verify a bundle, or measure what quantization cost"
    ),
    "inspect": Verb(
        "omnijet.runtime.commands.inspect", "show graphs, inputs, outputs, operators, sizes"
    ),
    "run": Verb(
        "omnijet.runtime.commands.run", "ask a bundle with text, pictures, sound and video"
    ),
    "bench": Verb("omnijet.runtime.commands.bench", "time the stages of a bundle on this machine"),
    "profile": Verb(
        "omnijet.runtime.commands.profile",
        "measure latency by scenario, stage and step; compare runs",
    ),
    "eval": Verb(
        "omnijet.nano.evaluation.command", "score a bundle of Omnijet-nano on its held-out set"
    ),
    "synthesize": Verb(
        "omnijet.export.synthetic.command",
        "write a seeded random checkpoint of any size",
        "export",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `omnijet` command.

    Returns:
        The exit code: 0 ok, 1 a check failed, 2 a fault to mend, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without Unicode is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    return _reported(lambda: _dispatch(argv))


def run_verb(name: str, args: argparse.Namespace) -> int:
    """Runs a verb whose options another command line has parsed; exit codes as of `main`."""
    return _reported(lambda: int(_import(VERBS[name], name).run(args)))


def _reported(work: Callable[[], int]) -> int:
    """Runs `work` and reports its faults without a traceback."""
    try:
        with _termination_as_interrupt():
            return work()
    except OmnijetError as error:
        print(f"omnijet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("omnijet: interrupted; nothing half-written was left behind", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            raise
        print(f"omnijet: {os.strerror(error.errno)}", file=sys.stderr)
        print(f"  where:    {error.filename or 'while writing'}", file=sys.stderr)
        print("  fix:      free space or choose another path", file=sys.stderr)
        return 2


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into the clean-up of Ctrl-C, unless they are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dispatch(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="omnijet", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"omnijet {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    named = next((word for word in argv if word in VERBS), None)
    for name, verb in VERBS.items():
        child = verbs.add_parser(
            name, help=verb.summary, description=verb.summary, allow_abbrev=False
        )
        if name == named:  # only this one is imported
            module = _import(verb, name)
            module.add_arguments(child)
            child.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


def _import(verb: Verb, name: str) -> Any:
    try:
        return importlib.import_module(verb.module)
    except ModuleNotFoundError as error:
        if verb.extra is None or (error.name or "").split(".")[0] == "omnijet":
            raise
        raise OmnijetError(
            f"`omnijet {name}` needs more than the runtime",
            expected=f"the extra [{verb.extra}]",
            got=f"no module named {error.name}",
            fix=f'pip install "omnijet[{verb.extra}]"',
        ) from error
