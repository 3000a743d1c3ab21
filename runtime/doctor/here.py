"""The machine that is looked at: what all checks share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.doctor.install import Install
from omnijet.runtime.doctor.library import Libraries
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.machine.platform import Platform
from omnijet.runtime.machine.root import text
from omnijet.runtime.profiling.jetson import Tool


@dataclass(frozen=True, slots=True)
class Here:
    """The machine that is looked at.

    Attributes:
        root: the folder that contains /proc, /sys, /etc and /usr.
        tool: runs a command of the system, within seconds.
        libraries: what the libraries of this interpreter say.
        install: how this interpreter gets packages.
        bundle: its folder; None: none was named.
        manifest: the bundle's; None: there is none that can be read.
        sound: whether a tone may be played and recorded.
    """

    platform: Platform
    root: Path
    tool: Tool
    libraries: Libraries
    install: Install = field(default_factory=lambda: Install.read(Path(sys.prefix)))
    bundle: Path | None = None
    manifest: Manifest | None = None
    sound: bool = False

    def text(self, name: str) -> str:
        """Returns the text of a small file of the machine; empty if there is none."""
        return text(self.root / name)

    def number(self, path: Path) -> int | None:
        """Returns the number that a small file holds; None: it holds none."""
        found = text(path)
        return int(found) if found.lstrip("-").isdecimal() and len(found) < 20 else None

    @property
    def bundle_word(self) -> str:
        """The bundle as one types it; BUNDLE if none was named."""
        return "BUNDLE" if self.bundle is None else shell_quoted(self.bundle)

    @property
    def bundle_private(self) -> tuple[str, ...]:
        """What of `bundle_word` tells of the user."""
        return () if self.bundle is None else (self.bundle_word, str(self.bundle))
