"""`make check-arm64`: omnijet on an emulated arm64 Debian, its answers beside this machine's.

Debian 12 for arm64 is installed into a folder, and QEMU translates its programs. Two environments
get the wheel and packages from wheels alone: one with the newest ONNX Runtime, and one with 1.23.2,
the newest for Python 3.10 (JetPack 6), which runs the graphs of `omnijet build --target cpu-jp62`.
Both answer the questions of `make demo`, one of them streamed; both hold `omnijet chat` with files,
and answer a request to `omnijet serve`. Ids and codes must equal this machine's. Then pip says
whether the wheels of a Jetson's Python 3.10 can be had.

It takes root, the packages that it names, 2 GB of disk and, the first time, a quarter of an hour of
two idle cores. A second run keeps Debian and the packages. All mounts end with the program that
needed them.

The exit code is 1 if an answer differs, 2 if this machine cannot emulate.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from omnijet import cli
from omnijet.runtime.backends.ort_release import OLDER
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from tools.check_arm64.machine import Machine, emulation, require_able
from tools.check_arm64.places import (
    KIT,
    OLDER_RELEASE,
    Here,
    Place,
    There,
    answers,
    chatted,
    furnish,
    install,
    served,
)
from tools.check_arm64.questions import compared
from tools.check_arm64.wheels import JETPACK_6, chosen, requirements

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "nano" / "checkpoint"
JETSON_EXTRAS = ("chat", "quantize", "serve")
SCRATCH = ROOT / "build" / "check-arm64"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_arm64",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="default: build/check-arm64")
    parser.add_argument(
        "--bundle", type=Path, help="Omnijet-nano in f32; exported if it is left out"
    )
    parser.add_argument("--remove", action="store_true", help="remove the folder, and stop")
    args = parser.parse_args(arguments)
    scratch: Path = args.scratch.resolve()
    if args.remove:
        shutil.rmtree(scratch, ignore_errors=True)
        return 0
    try:
        require_able()
        scratch.mkdir(parents=True, exist_ok=True)
        with emulation():
            return check(scratch, args.bundle)
    except OmnijetError as error:
        print(f"check-arm64: {error}", file=sys.stderr)
        return 2


def check(scratch: Path, given: Path | None) -> int:
    """Runs all parts, and prints their tables; returns the exit code."""
    bundle, wheel = bundle_for(scratch, given), wheel_in(scratch)
    _tell("Debian for arm64")
    machine = Machine.made(scratch / "debian")
    furnish(machine, bundle)
    here = Here(str(bundle), str(scratch))
    _tell(here.name)
    expected = answers(here), chatted(here), served(here)
    same = True
    for environment, release in (("newest", None), ("older", OLDER_RELEASE)):
        _tell(f"installing, ONNX Runtime {release or 'as the wheel asks for it'}")
        install(machine, environment, wheel, release)
        there = There(machine, environment, f"arm64, {environment}", f"/{KIT}/bundle")
        _tell(there.name)
        same &= beside(there, expected)
    _tell("wheels of Python 3.10 for arm64")
    wanted = requirements(wheel, JETPACK_6, JETSON_EXTRAS)
    print(f"wheels of JetPack 6: {', '.join(chosen(wanted, JETPACK_6, scratch))}")
    print("PASSED" if same else "FAILED")
    return 0 if same else 1


def beside(there: Place, expected: tuple[dict[str, object], ...]) -> bool:
    """Asks a place what this machine was asked; prints a table; returns whether all is equal."""
    (theirs, talk, reply), ours = expected, answers(there)
    facts = ours["made by"]
    table = Table(
        "question", "answer", "codec tokens", "sound, dB", "",
        title=f"{facts['machine']}, Python {facts['python']}, ONNX Runtime {facts['onnxruntime']}, "
        f"{facts['backend']}",
    )  # fmt: skip
    verdicts = compared(ours["answers"], theirs["answers"])  # type: ignore[arg-type]
    for one in verdicts:
        table.add_row(one.name, one.text, str(one.codes), f"{one.snr_db:.0f}", one.fault or "equal")
    right = [one.fault is None for one in verdicts]
    said = chatted(there)
    right.append(said == talk)
    table.add_row("omnijet chat", str(said["text"]), "", "", "equal" if right[-1] else "differs")
    answer = served(there)
    right.append(
        all(answer[key] == reply[key] for key in ("text", "usage")) and answer["exit code"] == 0
    )
    table.add_row("omnijet serve", answer["text"], "", "", "equal" if right[-1] else "differs")
    Console(width=110).print(table)
    return all(right)


def bundle_for(scratch: Path, given: Path | None) -> Path:
    """Returns a copy of the bundle with graphs for the older ONNX Runtime."""
    bundle = scratch / "bundle"
    if given is not None:
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(given, bundle)
    commands = [["build", str(bundle), "--target", OLDER]]
    if not bundle.exists():
        commands.insert(0, ["export", str(CHECKPOINT), str(bundle)])
    for command in commands:
        if cli.main(command) != 0:
            raise OmnijetError("the bundle could not be made", where=" ".join(command))
    assert set(Manifest.read(bundle).engines[OLDER]) == set(Manifest.read(bundle).graphs)
    return bundle


def wheel_in(scratch: Path) -> Path:
    """Builds the wheel of this checkout."""
    folder = scratch / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise OmnijetError("the wheel could not be built", got=done.stderr.strip()[-300:])
    (path,) = folder.glob("*.whl")
    return path


def _tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
