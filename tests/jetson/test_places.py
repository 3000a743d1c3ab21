"""Where the kit has a place: what it takes a machine for, and whom it refuses politely."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet.runtime.machine.jetpack import JETPACKS
from omnijet.runtime.machine.platform import Platform
from tests.jetson.fakes import KIT, Jetson, fake_jetson
from tests.machines import FAKES, fake_machine

JETSONS = [name for name in FAKES if name.rpartition("-")[2] in ("jp62", "jp72")]
SCRIPTS = [KIT / "setup.sh", KIT / "uninstall.sh", KIT / "service" / "greet.sh"]


def refusal(root: Path) -> str:
    done = Jetson(root).run("setup.sh", "--yes", "power")
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 2  # what it is, and the way out
    return done.stderr


@pytest.mark.parametrize("name", JETSONS)
def test_it_sees_what_omnijet_sees(name: str, tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path, name)
    seen = Platform.read(jetson.root)
    said = jetson.run("setup.sh", "--list", "--only", "headless").stdout.splitlines()[0]
    assert said.startswith(f"{seen.model}, JetPack {seen.jetpack} (Jetson Linux {seen.l4t}), ")


def test_both_know_the_same_versions() -> None:
    script = f"HERE={KIT}; . {KIT}/lib/all.sh; for one; do jetpack_of $one; done"
    known = {l4t: jetpack for l4t, jetpack in JETPACKS.items() if float(jetpack) >= 6}
    done = subprocess.run(
        ["bash", "-c", script, "x", *known], capture_output=True, text=True, check=True
    )
    assert dict(zip(known, done.stdout.split(), strict=True)) == known


def test_a_newer_linux_is_told_by_its_package(tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path, "orin-nx-jp72")
    (jetson.root / "etc/nv_tegra_release").write_text("# R39 (release), REVISION: 9.1, GCID: 1\n")
    said = jetson.run("setup.sh", "--list", "--only", "headless").stdout
    assert "JetPack 7.2 (Jetson Linux 39.9.1)" in said
    (jetson.root / "var/lib/dpkg/jetpack").write_text("8.0-b1\n")
    assert "this is JetPack 8.0" in refusal(jetson.root)


@pytest.mark.parametrize("name", ["workstation", "pc", "dgx-spark"])
def test_elsewhere_it_refuses(name: str, tmp_path: Path) -> None:
    told = refusal(fake_machine(tmp_path, name))
    assert "this is no Jetson" in told and "docs/workstation.md" in told


def test_other_jetpacks_are_refused(tmp_path: Path) -> None:
    assert "JetPack 7.0" in refusal(fake_jetson(tmp_path, "thor-jp70").root)
    old = fake_jetson(tmp_path, "orin-nx-jp62")
    (old.root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.0, GCID: 1\n")
    (old.root / "var/lib/dpkg/jetpack").write_text("6.1+b123\n")
    assert "JetPack 6.1" in refusal(old.root)
    (old.root / "etc/nv_tegra_release").unlink()
    assert "says no version of its system" in refusal(old.root)


def test_a_container_is_no_device(tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path)
    (jetson.root / ".dockerenv").touch()
    assert "this is a container" in refusal(jetson.root)
    (jetson.root / "etc/nv_tegra_release").unlink()  # as containers have it
    assert "this is a container" in refusal(jetson.root)
    pc = fake_machine(tmp_path, "pc")
    (pc / ".dockerenv").touch()
    assert "this is no Jetson" in refusal(pc)


def test_a_rehearsal_never_reaches_the_tools_of_this_machine(tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path)
    (jetson.root / "usr/bin/loginctl").unlink()
    done = jetson.run("setup.sh", "--only", "linger", "--yes", "linger")
    assert done.returncode == 1 and "there is no loginctl on this machine" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("shellcheck is not installed: its wheel is for x86-64")
    options = ["-a"] if script.name == "setup.sh" else []  # its parts are those of all scripts
    done = subprocess.run(
        [found, "-x", *options, script.relative_to(KIT.parent)], cwd=KIT.parent,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
