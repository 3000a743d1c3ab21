"""The `omnijet` command: a table of verbs, and how faults and signals end one of them.

A verb's module is imported when the verb is asked for: `omnijet --help` loads nothing heavy.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from omnijet import __version__
from omnijet.process import INTERRUPTED, INTERRUPTION, end
from omnijet.runtime import leftovers
from omnijet.runtime.child.search_path import leave_current_folder
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import LogFormat, printable, show
from omnijet.runtime.interrupt import interruptible
from omnijet.runtime.media.quiet import quieten_decoders
from omnijet.runtime.shortage import out_of_memory, ran_out

DESCRIPTION = "A Qwen2.5-Omni checkpoint as ONNX graphs, and a thin runtime that talks."
LAST_SECONDS = 0.3  # for the usual end of an interrupted process
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


LIGHTER = "close other programs, or take a machine with more memory"


@dataclass(frozen=True, slots=True)
class Verb:
    """One sub-command: a module with `add_arguments(parser)` and `run(args) -> exit code`.

    Attributes:
        module: where the sub-command is.
        summary: one line for `--help`.
        extra: the optional dependencies that the module needs, as in `omnijet[extra]`.
        lighter: what takes less memory.
    """

    module: str
    summary: str
    extra: str | None = None
    lighter: str = LIGHTER


VERBS: dict[str, Verb] = {
    "plan": Verb(
        "omnijet.deployment.planner.command",
        "say what fits on a device and how fast it will be, without weights",
    ),
    "export": Verb(
        "omnijet.export.command",
        "turn a checkpoint into a bundle",
        "export",
        lighter="close other programs; --no-speech leaves out all that speaks",
    ),
    "quantize": Verb(
        "omnijet.quantization.command",
        "turn floats into integers or FP8, by a recipe",
        "quantize",
        lighter="--low-memory leaves the weights in their files, --max-text-tokens N and "
        "--max-codes N calibrate on shorter replies, and `--data none` on nothing",
    ),
    "build": Verb(
        "omnijet.engines.command",
        "build TensorRT engines for one machine",
        "quantize",
        lighter="close other programs; --graphs NAME builds one graph at a time, --limit AXIS=N "
        "smaller engines",
    ),
    "check": Verb(
        "omnijet.quantization.check_command", "verify a bundle, or measure what quantization cost"
    ),
    "inspect": Verb(
        "omnijet.runtime.commands.inspect", "show graphs, inputs, outputs, operators, sizes"
    ),
    "run": Verb(
        "omnijet.runtime.commands.run",
        "ask a bundle with text, pictures, sound and video",
        lighter="ask for less: --max-pixels N for smaller pictures, --max-frames N for fewer "
        "frames of a clip, --no-speech for text only, or a shorter prompt; a bundle of `omnijet "
        "quantize` takes less, too",
    ),
    "serve": Verb(
        "omnijet.runtime.serve.command",
        "answer over HTTP and WebSocket, as OpenAI's clients have it, with a page to talk to",
        "serve",
        lighter="serve fewer at once: --turns N, --sessions N, --pixels N; a bundle of `omnijet "
        "quantize` takes less, too",
    ),
    "chat": Verb(
        "omnijet.runtime.chat.command",
        "talk with a bundle or a server: microphone, speaker, keyboard, or files",
        lighter="give a server's address, --server URL, or take a bundle of `omnijet quantize`",
    ),
    "doctor": Verb(
        "omnijet.runtime.doctor.command",
        "look at this machine, and say what to type where something will not work",
    ),
    "bench": Verb("omnijet.runtime.commands.bench", "time the stages of a bundle on this machine"),
    "profile": Verb(
        "omnijet.runtime.commands.profile",
        "measure latency by scenario, stage and step; compare runs",
    ),
    "eval": Verb(
        "omnijet.nano.evaluation.command", "score a bundle of Omnijet-nano on its held-out set"
    ),
    "deploy": Verb(
        "omnijet.deployment.deploy.command",
        "every step from a checkpoint to a measured device; goes on where it was cut",
        lighter="close other programs; --low-memory leaves weights in their files during "
        "calibration",
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
    if is_command:  # an empty entry of PYTHONPATH means the current folder
        leave_current_folder()
    argv = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without Unicode is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    if is_command:
        quieten_decoders()
    on_stderr = logging.StreamHandler()
    on_stderr.setFormatter(LogFormat("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[on_stderr])
    code = _reported(lambda: _dispatch(argv), _named(argv))
    if is_command and code == INTERRUPTED:
        _leave_soon()
    return code


def run_verb(name: str, args: argparse.Namespace) -> int:
    """Runs a verb whose options another command line has parsed; exit codes as of `main`."""
    return _reported(lambda: int(_import(VERBS[name], name).run(args)), name)


def _reported(work: Callable[[], int], verb: str | None) -> int:
    """Runs the work of a verb and reports its faults without a traceback."""
    is_ours = signal.getsignal(signal.SIGINT) is end
    try:
        if is_ours:  # from here on an interrupt can be told, and what was begun is undone
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with interruptible(_end_now):
            return _written(work)
    except Exception as error:
        return _told(error, verb)
    except KeyboardInterrupt:
        if is_ours:  # a second one would cut this short
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        show(INTERRUPTION, sys.stderr)
        return INTERRUPTED
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, end)


def _written(work: Callable[[], int]) -> int:
    """Returns the exit code of some work when what it printed has left this process."""
    try:
        return work()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that has gone is noticed here, not at the very end


def _told(error: Exception, verb: str | None) -> int:
    """Tells of a fault and returns the exit code. Raises the error again if it is a bug."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if ran_out(error):
        # the frames hold what took the memory
        traceback.clear_frames(error.__traceback__)
        error = out_of_memory(error, fix=VERBS[verb].lighter if verb else LIGHTER)
    if isinstance(error, OSError) and error.errno is not None:
        error = _io_fault(error)
    if isinstance(error, OmnijetError):
        show(f"omnijet: {error}", sys.stderr)
        return 2
    raise error


def _io_fault(error: OSError) -> OmnijetError:
    if leftovers.is_temporary(error):
        return leftovers.no_temporary_folder(error)
    return OmnijetError(
        os.strerror(error.errno or 0),
        where=error.filename or "while writing",
        fix="allow larger files (`ulimit -f`), or choose another file system"
        if error.errno == errno.EFBIG
        else "free space or choose another path",
    )


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


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints about arguments, which may be names of files, steer no terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _dispatch(argv: list[str]) -> int:
    parser = _Parser(prog="omnijet", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"omnijet {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    named = _named(argv)
    for name, verb in VERBS.items():
        child = verbs.add_parser(
            name, help=verb.summary, description=verb.summary, allow_abbrev=False
        )
        if name == named:  # only this one is imported
            module = _import(verb, name)
            module.add_arguments(child)
            child.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    with _extra_told(VERBS[args.verb], args.verb):  # some import what they need late
        code: int = args.run(args)
    return code


def _named(argv: Sequence[str]) -> str | None:
    """Returns the verb that a command line asks for."""
    return next((word for word in argv if word in VERBS), None)


@contextmanager
def _extra_told(verb: Verb, name: str) -> Iterator[None]:
    """Turns a missing package of a command's extra into an error that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if verb.extra is None or (error.name or "").split(".")[0] == "omnijet":
            raise
        raise OmnijetError(
            f"`omnijet {name}` needs more than the runtime",
            expected=f"the extra [{verb.extra}]",
            got=f"no module named {error.name}",
            fix=f'pip install "omnijet[{verb.extra}]"',
        ) from error


def _import(verb: Verb, name: str) -> Any:
    try:
        with _extra_told(verb, name):
            return importlib.import_module(verb.module)
    except Exception as error:
        if not ran_out(error):
            raise
        raise out_of_memory(
            error,
            "memory ran out while libraries were loaded",
            fix="close other programs, or give this process a higher limit (ulimit -v)",
        ) from None
