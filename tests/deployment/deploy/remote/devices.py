"""Devices for tests: an ssh that runs the words of a command line on this machine, and an omnijet
there that is what a test wants.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

SSH = """#!/bin/sh
# takes options as OpenSSH does, and runs what follows the host in another home folder
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    -o|-p|-i|-F|-l) shift 2 ;;
    -*) shift ;;
    *) break ;;
  esac
done
echo "$1" >> "$FAKE_HOME/.hosts"
shift
if [ -s "$FAKE_HOME/.ssh-fault" ]; then cat "$FAKE_HOME/.ssh-fault" >&2; exit 255; fi
cd "$FAKE_HOME" || exit 255
# rsync does not stand a shell that greets; whoever has one gets files one by one
case "$1" in rsync) [ -e .greets-rsync ] && echo Welcome ;; *) echo 'Welcome to the device!' ;; esac
HOME=$FAKE_HOME PATH="$FAKE_HOME/bin:$PATH"
export HOME PATH
# a login shell reads these words once more
sh -c "$*"
code=$?
if [ -e .connection-breaks ]; then
  echo 'client_loop: send disconnect: Broken pipe' >&2
  exit 255
fi
exit $code
"""


@dataclass(frozen=True, slots=True)
class FakeDevice:
    """A folder that stands for the home of a user on a device."""

    home: Path

    def program(self, name: str, text: str) -> Path:
        return program(self.home / "bin" / name, text)

    def omnijet(self, text: str) -> Path:
        """Makes its omnijet: a shell script, which is given `$*`."""
        return self.program("omnijet", text)

    def breaks(self, said: str) -> None:
        """Has ssh end with these words from now on."""
        (self.home / ".ssh-fault").write_text(said)

    @property
    def hosts(self) -> list[str]:
        """What was named as the host, at each call."""
        path = self.home / ".hosts"
        return path.read_text().splitlines() if path.exists() else []


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fake_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Puts an ssh on PATH that leads to a device."""
    home = tmp_path / "home of it's"
    home.mkdir()
    program(tmp_path / "fakes" / "ssh", SSH)
    monkeypatch.setenv("PATH", f"{tmp_path / 'fakes'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HOME", str(home))
    return FakeDevice(home)
