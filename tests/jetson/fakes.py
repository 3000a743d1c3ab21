"""A Jetson that is not at hand: its files, and tools that change nothing but them.

The tools are the files of tests/jetson/tools, bodies of shell scripts. Each call is a line of
`calls`. `FAKE_FAULT=NAME` has one fail.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.layering import ROOT
from tests.machines import PYTHONS, fake_machine

KIT = ROOT / "jetson"
TOOLS = Path(__file__).parent / "tools"
PERSON = "ada"
BEGIN = """#!/bin/sh
R=$OMNIJET_MACHINE_ROOT
echo "${0##*/} $*" >> "$R/../calls"
[ "${0##*/}" != "${FAKE_FAULT:-}" ] || { echo "no luck" >&2; exit 3; }
drop() { sed -i "\\\\#^$2\\$#d" "$1"; }
"""
MODES = """< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
PACKAGES = {"jp62": "6.2.1+b38\n", "jp70": "7.0-b128\n", "jp72": "7.2-b1\n"}
"""Version of the package nvidia-jetpack."""
FOLDERS = (
    "etc/systemd/system/multi-user.target.wants", "var/lib/systemd/linger", "opt", "usr/local/bin",
    "usr/bin", "etc/udev/rules.d", "etc/pulse/default.pa.d",
)  # fmt: skip
Tree = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Jetson:
    """A machine in a folder."""

    root: Path

    @property
    def calls(self) -> list[str]:
        """Every call of a tool so far."""
        path = self.root.parent / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        """Forgets the calls."""
        (self.root.parent / "calls").unlink(missing_ok=True)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def tree(self) -> Tree:
        """Returns mode and content of all that is on the machine, by path."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder) / name
                mode = path.lstat().st_mode
                content = os.readlink(path) if path.is_symlink() else ""
                content = content or (path.read_text() if path.is_file() else "")
                found[str(path.relative_to(self.root))] = (mode, content)
        return found

    def run(
        self,
        script: str,
        *words: str,
        answers: str | None = None,
        moment: int | None = None,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of the kit on the machine.

        Args:
            answers: typed at its terminal; None: there is none.
            moment: kill it before the so-many-th of its commands.
        """  # fmt: skip
        full = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "OMNIJET_MACHINE_ROOT": str(self.root), "SUDO_USER": PERSON, "LC_ALL": "C.UTF-8",
            **environment,
        }  # fmt: skip
        command = ["bash", str(KIT / script), *words]
        if moment is not None:
            count = self.root.parent / "count"
            # each simple command of the shell is a moment, also those in functions
            trap = f"(( ++moment >= {moment} )) && kill -9 $$"
            source = f"set -T; moment=0; trap '{trap}' DEBUG; . {KIT / script}; trap - DEBUG"
            command = ["bash", "-c", f"{source}; echo $moment > {count}", str(KIT / script), *words]
        if answers is not None:  # script(1) gives it a terminal
            command = ["script", "-qec", shlex.join(command), "/dev/null"]
        return subprocess.run(
            command, env=full, text=True, capture_output=True, timeout=300, cwd=self.root.parent,
            input=answers, **({} if answers is not None else {"stdin": subprocess.DEVNULL}),
        )  # fmt: skip


def fake_jetson(folder: Path, name: str = "orin-nano-jp62", disk: str = "/dev/nvme0n1p1") -> Jetson:
    """Writes a Jetson as it is after its first boot, with JetPack's packages.

    Args:
        name: one of `tests.machines.FAKES`.
        disk: what its root is on.
    """
    root = fake_machine(folder, name)
    jetpack = name.rpartition("-")[2]
    python = ".".join(map(str, PYTHONS.get(jetpack, (3, 12))))
    ubuntu = "22.04" if jetpack == "jp62" else "24.04"
    files = {
        "etc/os-release": f'NAME="Ubuntu"\nVERSION_ID="{ubuntu}"\n',
        "etc/nvpmodel.conf": MODES,
        "etc/fstab": "/dev/root / ext4 defaults 0 1\n",
        "etc/group": f"root:x:0:\nsudo:x:27:{PERSON}\naudio:x:29:pulse\n"
            f"video:x:44:{PERSON}\nrender:x:104:\n",
        "proc/mounts": f"{disk} / ext4 rw 0 0\n",
        "var/lib/nvpmodel/status": "pmode:0001\n",
        "var/lib/dpkg/installed": "nvidia-jetpack\ncurl\nalsa-utils\n",
        "var/lib/dpkg/jetpack": PACKAGES[jetpack],
        "usr/lib/python-version": f"{python}\n",
        "usr/lib/tensorrt": "",
        "usr/lib/disk": f"{disk}\n",
        "usr/lib/free-kb": "90000000\n",
        "usr/lib/swaps": (root / "proc/swaps").read_text(),
        "dev/nvhost-ctrl-gpu": "", "dev/nvmap": "", "dev/nvgpu/igpu0/ctrl": "",
        "dev/snd/pcmC0D0p": "",
        "etc/nvidia-container-runtime/host-files-for-container.d/devices.csv":
            "dev, /dev/nvmap\ndev, /dev/not-there\nlib, /usr/lib/x\n",
    }  # fmt: skip
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path in FOLDERS:
        (root / path).mkdir(parents=True, exist_ok=True)
    units = root / "etc/systemd/system"
    (units / "default.target").symlink_to("/lib/systemd/system/graphical.target")
    (units / "multi-user.target.wants/nvzramconfig.service").symlink_to("/x/nvzramconfig.service")
    for tool in TOOLS.iterdir():
        made = root / "usr/bin" / tool.name
        made.write_text(BEGIN + tool.read_text())
        made.chmod(0o755)
    return Jetson(root)


def bundle(folder: Path) -> Path:
    """Writes something that looks like a bundle from afar."""
    made = folder / "my-bundle"
    made.mkdir()
    shutil.copy(ROOT / "LICENSE", made / "manifest.json")
    return made
