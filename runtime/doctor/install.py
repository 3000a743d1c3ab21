"""How this interpreter gets packages: the line to type for one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from omnijet.runtime.files.names import shell_quoted

SYSTEM = (Path("/usr"), Path("/usr/local"))


@dataclass(frozen=True, slots=True)
class Install:
    """Where this interpreter has its packages.

    Attributes:
        prefix: of the interpreter (`sys.prefix`).
        is_system: whether it is no virtual environment.
        active: whether the shell's `pip` is that of the interpreter.
        has_pip: whether the environment has a pip of its own; those of uv and pipx have none.
        writable: whether this user may change the environment.
        managed: whether the system forbids pip outside of environments (PEP 668).
    """

    prefix: Path
    is_system: bool
    active: bool
    has_pip: bool
    writable: bool
    managed: bool

    @staticmethod
    def read(prefix: Path) -> Install:
        """Looks at an environment.

        Args:
            prefix: that of its interpreter.
        """
        is_venv = (prefix / "pyvenv.cfg").is_file()
        active = not is_venv or os.environ.get("VIRTUAL_ENV") == str(prefix)
        has_pip = not is_venv or (prefix / "bin" / "pip").exists()
        marks = prefix.glob("lib/python3*/EXTERNALLY-MANAGED")
        managed = not is_venv and next(marks, None) is not None
        writable = not is_venv or os.access(prefix, os.W_OK)
        return Install(prefix, not is_venv, active, has_pip, writable, managed)

    def pip(self, *words: str) -> str:
        """Returns the line that has pip do something to this interpreter's packages."""
        shown = " ".join(word if word.startswith("-") else _quoted(word) for word in words)
        if self.managed:
            return f"pip {shown} --break-system-packages"
        sudo = "" if self.writable else "sudo "
        if not self.has_pip:
            verb, _, rest = shown.partition(" ")
            python = shell_quoted(self.prefix / "bin" / "python")
            return f"{sudo}uv pip {verb} --python {python} {rest.removeprefix('-y ')}"
        if self.active and self.writable:
            return f"pip {shown}"
        return f"{sudo}{shell_quoted(self.prefix / 'bin' / 'pip')} {shown}"

    @property
    def private(self) -> tuple[str, ...]:
        """What of the lines tells of the user."""
        return () if self.prefix in SYSTEM else (str(self.prefix),)


def _quoted(word: str) -> str:
    """Returns a word as one types it: versions and extras are characters of the shell."""
    return word if word.replace("-", "").replace("_", "").isalnum() else f'"{word}"'
