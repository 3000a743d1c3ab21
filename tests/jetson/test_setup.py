"""setup.sh and uninstall.sh on Jetsons of files: fresh, repeated, refused, undone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.jetson.fakes import KIT, PERSON, Jetson, bundle, fake_jetson

STEPS = (
    "jetpack", "packages", "environment", "groups", "power", "clocks", "swap", "headless",
    "sound", "echo", "linger", "service", "greeting",
)  # fmt: skip
CHANGES = re.compile(
    r"(apt-get (install|remove) -q|usermod|gpasswd|nvpmodel -m|jetson_clocks|loginctl|udevadm"
    r"|fallocate|mkswap|swapon|swapoff|systemctl (set-default|enable|disable|daemon-reload)"
    r"|python3 -m venv)"
)
"""Calls that change a machine."""


@pytest.fixture
def jetson(tmp_path: Path) -> Jetson:
    return fake_jetson(tmp_path)


@pytest.mark.parametrize("name", ["orin-nano-jp62", "thor-jp72"])
def test_set_up_repeated_and_undone(name: str, tmp_path: Path) -> None:
    jetson, made = fake_jetson(tmp_path, name), bundle(tmp_path)
    before = jetson.tree()
    words = ("--bundle", str(made), "--engines", "a-target", "--yes", *STEPS)
    first = jetson.run("setup.sh", *words)
    assert first.returncode == 0 and not first.stderr, first.stderr
    is_62 = name.endswith("jp62")
    installed = jetson.text("opt/omnijet/venv/installed")
    assert installed.startswith("omnijet[gpu,quantize,serve,chat]")
    assert ("cuda-python<13" in installed) is is_62  # JetPack 6 has CUDA 12
    assert "system-site-packages = true" in jetson.text("opt/omnijet/venv/pyvenv.cfg")
    assert "pmode:0002" in jetson.text("var/lib/nvpmodel/status")
    swaps = jetson.text("proc/swaps")
    assert "/omnijet.swap" in swaps and "zram" not in swaps
    assert "/omnijet.swap none swap" in jetson.text("etc/fstab")
    echo = (
        "pulse/default.pa.d/60-omnijet-echo.pa"
        if is_62
        else "pipewire/pipewire.conf.d/60-omnijet-echo.conf"
    )
    assert "echo-cancel" in jetson.text(f"etc/{echo}")
    assert f"render:x:104:{PERSON}\n" in jetson.text("etc/group")
    units = jetson.root / "etc/systemd/system"
    assert (units / "default.target").readlink().name == "multi-user.target"
    assert (units / "multi-user.target.wants/omnijet.service").is_symlink()
    of_machine = (units / "omnijet.service.d/machine.conf").read_text().splitlines()
    assert f"BindReadOnlyPaths={made}:/opt/omnijet/bundle" in of_machine
    assert "DeviceAllow=/dev/nvgpu/igpu0/ctrl rw" in of_machine
    assert not [line for line in of_machine if "not-there" in line]
    assert 'engines = "a-target"' in jetson.text("etc/omnijet/serve.toml")

    after = jetson.tree()
    jetson.forget()
    second = jetson.run("setup.sh", *words)
    assert second.returncode == 0
    assert second.stdout.count("nothing to do") == len(STEPS)
    assert jetson.tree() == after and not [one for one in jetson.calls if CHANGES.match(one)]

    undone = jetson.run("uninstall.sh", "--yes")
    assert undone.returncode == 0 and not undone.stderr, undone.stderr
    assert jetson.tree() == before
    assert "nothing to undo" in jetson.run("uninstall.sh", "--yes").stdout


def test_nothing_is_changed_without_consent(jetson: Jetson) -> None:
    before = jetson.tree()
    asked = jetson.run("setup.sh")  # there is nobody to ask
    assert asked.returncode == 0 and "--yes power" in asked.stdout
    assert jetson.tree() == before and not [one for one in jetson.calls if CHANGES.match(one)]
    refused = jetson.run("uninstall.sh", "power")
    assert refused.returncode == 0 and "nothing to undo" in refused.stdout


def test_each_step_is_asked_at_a_terminal(jetson: Jetson) -> None:
    before = jetson.tree()
    done = jetson.run("setup.sh", "--only", "power", "headless", "linger", answers="n\ny\n\n")
    assert done.returncode == 0 and done.stdout.count("do this? [y/N]") == 3, done.stdout
    changed = {path for path, what in jetson.tree().items() if before.get(path) != what}
    assert changed == {
        "etc/systemd/system/default.target", "var/lib/omnijet-setup",
        "var/lib/omnijet-setup/headless.complete",
    }  # fmt: skip
    assert "left as they are: power linger" in done.stdout
    kept = jetson.tree()
    assert "nothing was changed" in jetson.run("uninstall.sh", answers="no\n").stdout
    assert jetson.tree() == kept
    assert jetson.run("uninstall.sh", answers="yes\n").returncode == 0
    assert jetson.tree() == before


def test_a_greeting_is_never_offered_by_itself(jetson: Jetson) -> None:
    assert "greeting:" not in jetson.run("setup.sh", "--dry-run").stdout
    assert "greeting:" in jetson.run("setup.sh", "--dry-run", "--with", "greeting").stdout


def test_a_dry_run_says_what_is_run(jetson: Jetson, tmp_path: Path) -> None:
    before = jetson.tree()
    words = ("--bundle", str(bundle(tmp_path)))
    dry = jetson.run("setup.sh", *words, "--dry-run", "--with", "greeting")
    assert dry.returncode == 0 and jetson.tree() == before
    said = re.findall(r"would run: (.*)", dry.stdout)
    jetson.forget()
    assert jetson.run("setup.sh", *words, "--yes", *STEPS).returncode == 0
    run = [one for one in jetson.calls if CHANGES.match(one)]
    assert [one for one in said if CHANGES.match(one)] == run
    written = set(re.findall(r"would (?:write|link): (\S+)", dry.stdout))
    assert all(path.lstrip("/") in jetson.tree() for path in written) and len(written) == 10
    after = jetson.tree()
    undo = jetson.run("uninstall.sh", "--dry-run")
    assert (
        undo.returncode == 0
        and jetson.tree() == after
        and "would run: nvpmodel -m 1" in undo.stdout
    )


def test_what_somebody_changed_since_stays(jetson: Jetson, tmp_path: Path) -> None:
    words = ("--bundle", str(bundle(tmp_path)), "--yes", "environment", "power", "headless", "swap",
             "service")  # fmt: skip
    assert jetson.run("setup.sh", *words).returncode == 0
    changed = {
        "etc/omnijet/serve.toml": 'bundle = "/mine"\n',
        "var/lib/nvpmodel/status": "pmode:0000\n",
        "etc/fstab": jetson.text("etc/fstab") + "/dev/sda1 /mine ext4 defaults 0 2\n",
        "opt/omnijet/notes.txt": "mine\n",
    }
    for path, text in changed.items():
        (jetson.root / path).write_text(text)
    default = jetson.root / "etc/systemd/system/default.target"
    default.unlink()
    default.symlink_to("/lib/systemd/system/rescue.target")
    done = jetson.run("uninstall.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert jetson.text("etc/omnijet/serve.toml") == 'bundle = "/mine"\n'
    assert jetson.text("var/lib/nvpmodel/status") == "pmode:0000\n"
    assert jetson.text("opt/omnijet/notes.txt") == "mine\n"
    assert default.readlink().name == "rescue.target"
    fstab = jetson.text("etc/fstab")
    assert "/mine" in fstab and "omnijet" not in fstab
    for word in ("serve.toml stays", "power mode stays 15W", "default target stays"):
        assert word in done.stdout
    assert not (jetson.root / "opt/omnijet/venv").exists()
    assert not (jetson.root / "var/lib/omnijet-setup").exists()


def test_files_of_the_user_are_not_written_over(jetson: Jetson) -> None:
    mine = jetson.root / "etc/pulse/default.pa.d/60-omnijet-echo.pa"
    mine.write_text("mine\n")
    before = jetson.tree()
    done = jetson.run("setup.sh", "--only", "echo", "--yes", "echo")
    assert done.returncode == 1 and "is not of this kit" in done.stderr
    assert mine.read_text() == "mine\n"
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == before
    (jetson.root / "opt/omnijet/venv").mkdir(parents=True)
    (jetson.root / "omnijet.swap").write_text("mine")
    left = jetson.run("setup.sh", "--only", "environment", "swap", "--yes", "environment", "swap")
    assert left.returncode == 0 and left.stdout.count("left out") == 2, left.stdout


def test_a_tool_that_fails_is_told_and_can_be_tried_again(jetson: Jetson) -> None:
    before = jetson.tree()
    words = ("--only", "swap", "--yes", "swap")
    failed = jetson.run("setup.sh", *words, FAKE_FAULT="mkswap")
    assert (
        failed.returncode == 1 and "`mkswap" in failed.stderr and "(exit code 3)" in failed.stderr
    )
    assert "uninstall.sh swap" in failed.stderr
    assert "zram" in jetson.text("proc/swaps")  # memory is not without swap meanwhile
    again = jetson.run("setup.sh", *words)
    assert again.returncode == 0 and "interrupted here" in again.stdout
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    assert jetson.tree() == before
    assert jetson.run("setup.sh", *words, FAKE_FAULT="swapon").returncode == 1
    assert jetson.run("uninstall.sh", "--yes", "swap").returncode == 0
    assert jetson.tree() == before


def test_packages_that_others_need_stay(jetson: Jetson) -> None:
    assert jetson.run("setup.sh", "--only", "packages", "--yes", "packages").returncode == 0
    (jetson.root / "var/lib/dpkg/needed-by").write_text("libportaudio2 audacity\n")
    done = jetson.run("uninstall.sh", "--yes")
    assert done.returncode == 0 and "audacity would go with them" in done.stdout
    assert "libportaudio2" in jetson.text("var/lib/dpkg/installed")


def test_a_bare_system_gets_tensorrt_first(jetson: Jetson) -> None:
    (jetson.root / "usr/lib/tensorrt").unlink()
    (jetson.root / "var/lib/dpkg/installed").write_text("curl\n")
    before = jetson.tree()
    done = jetson.run("setup.sh", "--only", "jetpack", "--yes", "jetpack")
    assert done.returncode == 0 and "done" in done.stdout
    assert "nvidia-jetpack" in jetson.text("var/lib/dpkg/installed")
    assert jetson.run("uninstall.sh", "--yes").returncode == 0
    (jetson.root / "usr/lib/tensorrt").unlink()  # apt takes what it brought along later
    assert jetson.tree() == before


def test_a_power_mode_that_wants_a_reboot(jetson: Jetson) -> None:
    (jetson.root / "etc/wants-reboot").touch()
    before = jetson.tree()
    done = jetson.run("setup.sh", "--only", "power", "--yes", "power")
    assert done.returncode == 0 and "after a reboot" in done.stdout
    assert jetson.run("uninstall.sh", "--yes").returncode == 0 and jetson.tree() == before
    named = jetson.run("setup.sh", "--dry-run", "--only", "power", "--power-mode", "15W")
    assert "would run: nvpmodel -m 0" in named.stdout
    unknown = jetson.run("setup.sh", "--dry-run", "--only", "power", "--power-mode", "9W")
    assert "left out" in unknown.stdout and "15W 25W MAXN_SUPER" in unknown.stdout


def test_swap_wants_a_disk_that_lasts(tmp_path: Path) -> None:
    jetson = fake_jetson(tmp_path, disk="/dev/mmcblk0p1")
    assert "no NVMe disk" in jetson.run("setup.sh", "--dry-run", "--only", "swap").stdout
    (jetson.root / "proc/mounts").write_text("/dev/nvme0n1p1 /data ext4 rw 0 0\n")
    assert "/data/omnijet.swap" in jetson.run("setup.sh", "--dry-run", "--only", "swap").stdout
    (jetson.root / "usr/lib/free-kb").write_text("9000000\n")
    assert "9 GB are free" in jetson.run("setup.sh", "--dry-run", "--only", "swap").stdout


def test_another_wheel_takes_the_place_of_the_first(jetson: Jetson, tmp_path: Path) -> None:
    wheel = tmp_path / "omnijet-0.1.0-py3-none-any.whl"
    wheel.touch()
    words = ("--only", "environment", "--yes", "environment")
    assert jetson.run("setup.sh", *words).returncode == 0
    again = jetson.run("setup.sh", *words, "--omnijet", str(wheel))
    assert again.returncode == 0, again.stderr
    assert f"{wheel}[gpu,quantize,serve,chat]" in jetson.text("opt/omnijet/venv/installed")
    assert "nothing to do" in jetson.run("setup.sh", *words, "--omnijet", str(wheel)).stdout
    (tmp_path / "omnijet").mkdir()  # a folder with the name of the package is none that is meant
    assert jetson.run("setup.sh", *words).returncode == 0
    assert jetson.text("opt/omnijet/venv/installed").startswith("omnijet[gpu")
    missing = jetson.run("setup.sh", *words, "--omnijet", "./nowhere.whl")
    assert "left out: there is no" in missing.stdout
    dry = jetson.run("setup.sh", "--dry-run", "--only", "environment", "--omnijet", "omnijet==0.2")
    assert "omnijet[gpu,quantize,serve,chat]==0.2" in dry.stdout


def test_what_others_need_is_undone_last(jetson: Jetson, tmp_path: Path) -> None:
    words = ("--bundle", str(bundle(tmp_path)), "--yes", "environment", "service")
    assert jetson.run("setup.sh", *words).returncode == 0
    done = jetson.run("uninstall.sh", "--yes", "environment")
    assert done.returncode == 1 and "uninstall.sh service environment" in done.stderr
    assert (jetson.root / "opt/omnijet/venv/bin/omnijet").exists()
    early = jetson.run("uninstall.sh", "--yes", "environment", "service")
    assert early.returncode == 0, early.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--yes", "powr"), "there is no step powr"),
        (("--yes",), "wants the name of a step"),
        (("--fast",), "there is no option --fast"),
        (("--user",), "--user wants a value"),
        (("--user", "a;b"), "--user wants a name"),
        (("--swap-gb", "many"), "wants a whole number"),
        (("--swap-file", "swap"), "wants a path from /"),
    ],
)
def test_usage(words: tuple[str, ...], told: str, jetson: Jetson) -> None:
    done = jetson.run("setup.sh", *words)
    assert done.returncode == 2 and told in done.stderr and not jetson.calls


def test_the_help_names_every_step(jetson: Jetson) -> None:
    said = jetson.run("setup.sh", "--help").stdout
    assert all(re.search(rf"\b{step}\b", said) for step in STEPS)
    assert {path.stem for path in (KIT / "steps").glob("*.sh")} == set(STEPS)
    assert "usage" in jetson.run("uninstall.sh", "--help").stdout
