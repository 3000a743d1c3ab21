"""The `omnijet` command: a table of verbs, and how faults and signals end one of them.

A verb's module is imported when the verb is asked for: `omnijet --help` loads nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from omnijet import __version__
from omnijet.runtime import leftovers
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.interrupt import interruptible

DESCRIPTION = "A Qwen2.5-Omni checkpoint as ONNX graphs, and a thin runtime that talks."
INTERRUPTION = "omnijet: interrupted; nothing half-written was left behind"
INTERRUPTED = 130  # as shells have it: 128, and the number of SIGINT
LAST_SECONDS = 0.3  # for the usual end of an interrupted process
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


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
    is_command = argv is None  # else this process belongs to whoever calls
    argv = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without Unicode is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    code = _reported(lambda: _dispatch(argv))
    if is_command and code == INTERRUPTED:
        _leave_soon()
    return code


def run_verb(name: str, args: argparse.Namespace) -> int:
    """Runs a verb whose options another command line has parsed; exit codes as of `main`."""
    return _reported(lambda: int(_import(VERBS[name], name).run(args)))


def _reported(work: Callable[[], int]) -> int:
    """Runs `work` and reports its faults without a traceback."""
    try:
        with interruptible(_end_now):
            return work()
    except OmnijetError as error:
        print(f"omnijet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(INTERRUPTION, file=sys.stderr)
        return INTERRUPTED
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


def _end_now() -> None:
    """Ends the process while its main thread is in a call that does not end."""
    leftovers.remove_all()
    shown = f"{SHOW_CURSOR if sys.stderr.isatty() else ''}{INTERRUPTION}\n"
    with suppress(OSError):
        os.write(2, shown.encode())  # the main thread may hold the lock of sys.stderr
    os._exit(INTERRUPTED)


def _leave_soon() -> None:
    """Ends the process even if its usual end waits for a thread that is in a long call."""
    end = threading.Timer(LAST_SECONDS, os._exit, (INTERRUPTED,))
    end.daemon = True
    end.start()


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
