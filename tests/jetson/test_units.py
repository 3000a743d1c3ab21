"""The units of systemd: they load, they allow little, and they fit the server."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.config import ServeConfig
from tests.layering import ROOT
from tests.serving import serving

SERVICE = ROOT / "jetson" / "service"
UNITS = sorted(SERVICE.glob("*.service"))
MOST_EXPOSED = {"omnijet": 2.0, "omnijet-greeting": 5.0, "omnijet-clocks": 10.0}
"""Of ten, as `systemd-analyze security` counts. The clocks are set by NVIDIA's tool, as root."""

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def setting(unit: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", (SERVICE / unit).read_text(), re.M)
    return str(found)


def write_machine_conf(folder: Path) -> None:
    """Writes what setup.sh adds to the unit on one machine, beside the unit."""
    root, bundle = folder / "root", folder / "my-bundle"
    for node in ("dev/nvmap", "dev/nvgpu/igpu0/ctrl"):
        (root / node).parent.mkdir(parents=True, exist_ok=True)
        (root / node).touch()
    bundle.mkdir()
    script = f". {SERVICE.parent}/lib/all.sh; STEP=service BUNDLE={bundle}; _of_this_machine"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "HERE": str(SERVICE.parent), "OMNIJET_MACHINE_ROOT": str(root)},
    )  # fmt: skip
    assert "DeviceAllow=/dev/nvgpu/igpu0/ctrl rw" in done.stdout
    drop_ins = folder / "omnijet.service.d"
    drop_ins.mkdir()
    (drop_ins / "machine.conf").write_text(done.stdout)


def test_a_wrong_setting_of_a_machine_is_found(tmp_path: Path) -> None:
    """The check below reads the drop-ins, too."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    unit = tmp_path / "omnijet.service"
    unit.write_text(f"[Service]\nExecStart={shutil.which('true')}\n")
    write_machine_conf(tmp_path)
    path = tmp_path / "omnijet.service.d/machine.conf"
    path.write_text(path.read_text() + "DeviceAlow=/dev/null rw\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert "DeviceAlow" in done.stderr


@analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_them(unit: Path, tmp_path: Path) -> None:
    """All units lie side by side, and their programs are ones that there are."""
    for one in UNITS:
        text = re.sub(
            r"^(Exec\w+=)\S+", rf"\g<1>{shutil.which('true')}", one.read_text(), flags=re.M
        )
        (tmp_path / one.name).write_text(text)
    write_machine_conf(tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "omnijet" in line]
    assert not ours and done.returncode == 0, done.stderr


@analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_they_allow_little(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MOST_EXPOSED[unit.stem]


def test_what_cuda_needs_is_allowed() -> None:
    """Each of these was the end of a service somewhere: see the comments of the unit."""
    text = (SERVICE / "omnijet.service").read_text()
    settings = [line for line in text.splitlines() if not line.startswith("#")]
    for node in ("char-nvhost*", "char-nvidia*", "char-alsa", "/dev/nvmap"):
        assert f"DeviceAllow={node} rw" in settings
    assert "SupplementaryGroups=video render audio" in settings
    forbidden = ("PrivateDevices=", "MemoryDenyWriteExecute=", "PrivateUsers=", "ProcSubset=pid")
    assert not [line for line in settings if line.startswith(forbidden)]


def test_replies_may_end_before_systemd_kills() -> None:
    assert int(setting("omnijet.service", "TimeoutStopSec")) >= ServeConfig().drain_s + 15


def test_the_watchdog_waits_longer_than_a_graph_takes() -> None:
    from omnijet.runtime.serve.command import STUCK_S

    assert int(setting("omnijet.service", "WatchdogSec")) >= 30
    assert STUCK_S >= 30


def test_the_journal_has_bounds() -> None:
    parsed = configparser.ConfigParser()
    parsed.read(SERVICE / "journald@omnijet.conf")
    assert parsed["Journal"]["SystemMaxUse"] == "64M"
    assert setting("omnijet.service", "LogNamespace") == "omnijet"


@contextmanager
def speaker(folder: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """A loudspeaker that keeps what it was given, in place of aplay."""
    kept = folder / "played.wav"
    fake = folder / "bin" / "aplay"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nfor file; do :; done\ncp "$file" {kept}\n')
    fake.chmod(0o755)
    yield {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}, kept


def greet(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SERVICE / "greet.sh", *words],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")


@needs_curl
def test_the_first_word_after_a_boot(trained: tuple[Path, Path], tmp_path: Path) -> None:
    config = ServeConfig(model="served", drain_s=0, api_key="sesame", preset="fast")
    with (
        Omni.open(trained[1], backend=OrtBackend(threads=1)) as omni,
        speaker(tmp_path) as (environment, kept),
        Assistant(omni) as assistant,
        serving(assistant, config) as url,
    ):
        environment |= {"OMNIJET_URL": url, "TMPDIR": str(tmp_path)}
        refused = greet(environment)
        assert refused.returncode == 1 and "no server answers" in refused.stderr  # without its key
        assert not kept.exists()
        done = greet({**environment, "OMNIJET_API_KEY": "sesame"}, 'Say "one" \\ two')
        assert done.returncode == 0, done.stderr
    assert kept.read_bytes()[:4] == b"RIFF" and kept.stat().st_size > 24_000
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "played.wav"}  # nothing is left


@needs_curl
def test_no_server_no_word(tmp_path: Path) -> None:
    with speaker(tmp_path) as (environment, kept):
        done = greet({**environment, "OMNIJET_URL": "http://127.0.0.1:1"})
    assert done.returncode == 1 and "no server answers" in done.stderr and not kept.exists()
