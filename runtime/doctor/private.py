"""What of a text tells of a person or a machine, and how it is hidden."""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.machine.root import text

HIDDEN = "<hidden>"
ORDINARY = frozenset(
    {"root", "nobody", "user", "admin", "nvidia", "jetson", "orin", "ubuntu", "debian", "tegra",
     "localhost", "localdomain", "ip6", "home", "video", "audio", "host", "linux", "thor", "gpu"}
)  # fmt: skip
"""Names of users and hosts that every other machine has, too; they are words of the findings."""
LEAST_LETTERS = 2
SHORTEST_SECRET = 6
"""A value of the environment that is shorter is too common to be searched for."""
SERIALS = (
    "proc/device-tree/serial-number", "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial", "sys/class/dmi/id/chassis_serial",
    "sys/class/dmi/id/product_uuid", "etc/machine-id", "sys/class/net/eth0/address",
)  # fmt: skip
OPEN_ROOTS = "usr|lib|lib64|bin|sbin|proc|sys|opt/nvidia"
"""Folders whose files are named alike on all machines."""
OPEN_FILES = (
    "/etc/nv_tegra_release", "/etc/nvpmodel.conf", "/dev/nvmap", "/dev/nvidia0", "/dev/nvidiactl",
    "/dev/nvgpu/igpu0/ctrl", "/dev/snd", "/dev/null",
)  # fmt: skip
PATTERNS = (
    re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),  # mail, user@host
    re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE),  # addresses, with what is in them
    re.compile(r"\b(?:[0-9a-fA-F]{2}[:_-]){5}[0-9a-fA-F]{2}\b"),  # MAC
    re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),  # UUID
    re.compile(r"\b\d{10,}\b"),  # serial numbers
    re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b"),  # identities in hexadecimal
)
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*)"
)
_VERSION = re.compile(r"(?:TensorRT(?:-RTX)?|bindings|library|runtime|is|by|version) $")
_PATH = re.compile(r"(?<![\w<.])~?/[^\s'\",;:)]*")
_QUOTED_PATH = re.compile(r"(['\"])~?/.*?\1")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Words that no report holds, wherever they come from.

    Attributes:
        words: names, numbers and values of this machine and its users.
    """

    words: tuple[str, ...]

    @staticmethod
    def of(root: Path, environment: Mapping[str, str], more: Iterable[str] = ()) -> Secrets:
        """Collects what is known of users, hosts, serial numbers and the environment.

        Args:
            root: the folder that contains /proc, /sys and /etc.
            environment: that of this process.
            more: other texts.
        """
        found = {*_users(root), *_hosts(root), *_environment(environment)}
        found |= {text(root / name) for name in SERIALS} | set(more)
        plain = {word.strip() for word in found}
        kept = {word for word in plain if len(word) >= LEAST_LETTERS and not _is_ordinary(word)}
        return Secrets(tuple(sorted(kept, key=lambda word: (-len(word), word))))

    def hide(self, said: str) -> str:
        """Returns a text without what tells of a person or a machine."""
        for word in self.words:
            said = re.sub(
                rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", HIDDEN, said,
                flags=re.IGNORECASE,
            )  # fmt: skip
        for pattern in PATTERNS:
            said = pattern.sub(HIDDEN, said)
        said = _ADDRESS.sub(_address, said)
        said = _QUOTED_PATH.sub(lambda found: f"{found[1]}{_path(found[0][1:-1])}{found[1]}", said)
        return _PATH.sub(lambda found: _path(found[0]), said)


def _users(root: Path) -> Iterator[str]:
    """Yields the names of this user and of all who may log in."""
    with suppress(KeyError, OSError):  # an identity without a name
        yield getpass.getuser()
    yield os.path.basename(os.path.expanduser("~"))
    for line in text(root / "etc/passwd").splitlines():
        name, _, number, _, person, home, *_ = [*line.split(":"), *[""] * 7]
        if number.isdecimal() and int(number) >= 1000:
            yield name
            yield from re.split(r"[,\s]+", person)
            yield person.split(",")[0]
            yield os.path.basename(home)


def _hosts(root: Path) -> Iterator[str]:
    """Yields the names of this machine and of those that it knows."""
    names = [socket.gethostname(), text(root / "etc/hostname")]
    names.append(text(root / "proc/sys/kernel/hostname"))
    for line in text(root / "etc/hosts").splitlines():
        names += line.partition("#")[0].split()[1:]
    for name in names:
        yield name
        yield name.split(".")[0]


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    """Yields the values of the environment that somebody may have chosen."""
    for value in environment.values():
        if len(value) >= SHORTEST_SECRET and not value.isdecimal():
            yield value


def _is_ordinary(word: str) -> bool:
    parts = re.split(r"[-_.\d]+", word.casefold())
    return all(part in ORDINARY for part in parts if part) or word.startswith("/usr/")


def _address(found: re.Match[str]) -> str:
    """Returns an IP address hidden; what follows the name of a library is its version."""
    try:
        ipaddress.ip_address(found[0].rstrip("."))
    except ValueError:
        return found[0]
    return found[0] if _VERSION.search(found.string[: found.start()]) else HIDDEN


def _path(path: str) -> str:
    bare = path.rstrip(".")
    is_open = re.match(rf"/(?:{OPEN_ROOTS})/", bare) and ".." not in bare
    # what lies deeper in these folders is a user's, too
    is_own = re.match(r"/(?:usr/local|proc/\d+|usr/home)", bare)
    return path if (is_open and not is_own) or bare.startswith(OPEN_FILES) else HIDDEN
