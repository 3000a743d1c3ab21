"""The command as a process: its first moments, and what whoever starts it has closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import heed_signals, ignore_signals
from tests.layering import ROOT

PATIENCE_S = 60
STARTED = [sys.executable, "-m", "omnijet"]
SLOW_IMPORT = """
import builtins, os, runpy, signal, sys
imported = builtins.__import__

def slow(name, *rest, **more):
    if name.startswith({module!r}):
        builtins.__import__ = imported
        os.kill(os.getpid(), {number})
    return imported(name, *rest, **more)

sys.argv = ["omnijet", "run", "no-such-bundle", "--text", "Hi"]
import omnijet
builtins.__import__ = slow
runpy.run_module("omnijet", run_name="__main__")
"""


def ended(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        timeout=PATIENCE_S, **{"preexec_fn": heed_signals, **options},
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["omnijet.cli", "argparse", "omnijet.runtime.errors", "numpy"])
def test_a_signal_while_it_starts_ends_it_without_a_traceback(module: str, number: int) -> None:
    done = ended(SLOW_IMPORT.format(module=module, number=int(number)))
    assert done.returncode == 130, done.stderr
    assert done.stderr == "omnijet: interrupted; nothing half-written was left behind\n"


def test_ignored_signals_stay_ignored() -> None:
    code = SLOW_IMPORT.format(module="omnijet.cli", number=int(signal.SIGINT))
    done = ended(code, preexec_fn=ignore_signals)
    assert done.returncode == 2 and "no-such-bundle" in done.stderr


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_descriptor_is_nobody_elses(tmp_path: Path, number: int) -> None:
    """Neither a file of ours nor what a library prints gets its number."""
    code = (
        "import os, sys\n"
        f"os.close({number})\n"
        "sys.stdin, sys.stdout, sys.stderr = [None if i == NUMBER else s for i, s in"
        " enumerate((sys.stdin, sys.stdout, sys.stderr))]\n".replace("NUMBER", str(number))
        + "from omnijet.process import fill_closed\n"
        "fill_closed()\n"
        f"assert os.path.samestat(os.fstat({number}), os.stat(os.devnull))\n"
        f"assert os.open({str(tmp_path)!r}, os.O_RDONLY) > 2\n"
        "assert sys.stderr is not None\n"
    )
    assert ended(code).returncode == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_it_works_with_closed_streams(closed: str) -> None:
    command = f"{sys.executable} -m omnijet inspect no-such-bundle {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and not done.stdout


def test_a_reader_that_goes_early_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*STARTED, "--help"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE_S
    )
    os.close(writing)
    assert done.returncode == 0 and not done.stderr


NOWHERE = """
import sys, tempfile
from pathlib import Path
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
from omnijet import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_without_a_temporary_folder(nano: tuple[Path, Path], tmp_path: Path) -> None:
    """What needs none works, and the rest says what to do before it begins."""
    bundle = str(nano[1])
    commands = {
        ("run", bundle, "--text", "Hi", "--max-text-tokens", "2", "--no-speech"): 0,
        ("check", bundle): 0,
        ("inspect", bundle): 0,
        ("export", str(nano[0]), str(tmp_path / "exported")): 2,
        ("quantize", bundle, str(tmp_path / "quantized"), "--recipe", "cpu-int8"): 2,
        ("profile", bundle, "--out", str(tmp_path / "profiled")): 2,
    }
    for command, code in commands.items():
        done = subprocess.run(
            [sys.executable, "-c", NOWHERE, *command], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == code, (command, done.stderr)
        assert code == 0 or "TMPDIR=FOLDER" in done.stderr, (command, done.stderr)
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
