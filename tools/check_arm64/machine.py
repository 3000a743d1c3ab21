"""An emulated arm64 machine: Debian in a folder, whose programs QEMU translates."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.errors import OmnijetError

SUITE = "bookworm"
"""Debian 12: Python 3.11, glibc 2.36."""
INCLUDED = "python3"
PACKAGES = {
    "mmdebstrap": "mmdebstrap", "arch-test": "arch-test", "update-binfmts": "binfmt-support",
    "qemu-aarch64-static": "qemu-user-static", "unshare": "util-linux",
}  # fmt: skip
"""Program -> Debian package."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = "qemu-aarch64"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# All mounts are in a namespace that ends with the program. ONNX Runtime wants /proc, and 1.23.2 the
# number of processors in /sys; with all of this machine's /sys the import of 1.32 crashes under
# QEMU 7.2.
ENTER = """
root=$1; shift
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
mount -t tmpfs tmpfs "$root/tmp" && mkdir -p "$root/sys" && mount -t tmpfs tmpfs "$root/sys" &&
mkdir -p "$root/sys/devices/system/cpu" &&
for file in possible present; do
    cat "/sys/devices/system/cpu/$file" > "$root/sys/devices/system/cpu/$file" || exit
done &&
exec chroot "$root" "$@"
"""


def require_able() -> None:
    """Raises `OmnijetError` if this machine cannot emulate; it lists all that is missing."""
    faults, missing = [], [name for name in PACKAGES if shutil.which(name) is None]
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise OmnijetError(
            "arm64 is emulated on x86-64 Linux",
            got=f"{platform.system()}, {platform.machine()}",
            fix="on an arm64 machine, `make demo` and `make test` check the real thing",
        )
    if os.geteuid() != 0:
        faults.append("root, who may change roots and mount")
    if missing:
        faults.append("the programs " + ", ".join(missing))
    if faults:
        packages = " ".join(dict.fromkeys(PACKAGES[name] for name in missing))
        install = (
            f"`apt-get install -y --no-install-recommends {packages}`, and " if missing else ""
        )
        raise OmnijetError(
            "this machine cannot emulate arm64 yet",
            expected="; ".join(faults),
            fix=f"as root: {install}`make check-arm64`; it changes nothing outside its folder",
        )


@contextmanager
def emulation() -> Iterator[None]:
    """Lets the kernel hand arm64 programs to QEMU during the block.

    Raises:
        OmnijetError: the kernel does not.
    """
    mounted = False
    if not (BINFMT / "register").exists():
        done = _call("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
        mounted = done.returncode == 0
    try:
        handler = BINFMT / HANDLER
        if not handler.exists():
            _call("update-binfmts", "--enable", HANDLER)
        flags = handler.read_text() if handler.exists() else ""
        if "enabled" not in flags or "F" not in flags.partition("flags:")[2].split("\n")[0]:
            raise OmnijetError(
                "the kernel does not run arm64 programs with QEMU",
                where=BINFMT,
                expected=f"{HANDLER}, enabled and fixed in memory (flag F)",
                got=" ".join(flags.split()) or "no such entry",
                fix="`update-binfmts --enable qemu-aarch64` as root; a container needs the "
                "privilege to mount binfmt_misc",
            )
        yield
    finally:
        if mounted:
            _call("umount", BINFMT)


@dataclass(frozen=True, slots=True)
class Machine:
    """The root folder of an emulated Debian."""

    root: Path

    @staticmethod
    def made(root: Path) -> Machine:
        """Makes the folder, or takes the one that an earlier run finished.

        Raises:
            OmnijetError: packages cannot be had, or the disk is full.
        """
        if not (root / "usr" / "bin" / "python3").exists():
            partial = root.with_name(f"{root.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.parent.mkdir(parents=True, exist_ok=True)
            done = _call(
                "unshare", "--mount", "mmdebstrap", "--variant=minbase", "--architectures=arm64",
                "--dpkgopt=force-unsafe-io", f"--include={INCLUDED}", SUITE, partial,
            )  # fmt: skip
            if done.returncode != 0:
                shutil.rmtree(partial, ignore_errors=True)
                raise OmnijetError(
                    "Debian for arm64 could not be installed into a folder",
                    where=partial,
                    got="; ".join(done.stderr.strip().splitlines()[-3:]),
                    fix="look whether Debian's packages can be had here, and start again",
                )
            partial.rename(root)
        return Machine(root)

    def run(
        self, command: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of the machine to its end and captures what it prints."""
        known = {
            "PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
            **(env or {}),
        }  # fmt: skip
        return subprocess.run(
            ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", ENTER, "sh",
             str(self.root), *command],
            input=stdin, capture_output=True, text=True, errors="replace", env=known,
        )  # fmt: skip


def _call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)
