"""Whether a line that the doctor says can be typed: by the parsers that will read it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.test_docs import parser_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
PROGRAMS = frozenset(
    {"sudo", "pip", "uv", "docker", "omnijet", "pactl", "amixer", "arecord", "aplay", "lsblk", "df",
     "top", "sensors", "nvidia-smi", "apt-cache", "ls", "tegrastats", "pw-metadata"}
)  # fmt: skip
"""What a line may begin with, besides a path of an interpreter's environment."""
OF_ROOT = frozenset(
    {"apt", "usermod", "nvpmodel", "jetson_clocks", "systemctl", "dmesg", "cpupower", "dnf",
     "ubuntu-drivers", "fallocate", "chmod", "mkswap", "swapon", "nvidia-ctk"}
)  # fmt: skip


@cache
def require_typable(line: str) -> None:
    """Fails if a shell or one of our commands would not understand the line."""
    done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stderr)
    for part in re.split(r" && | \| ", line):
        words = shlex.split(part)
        program = words[1] if words[0] == "sudo" else words[0]
        if words[0] == "sudo":
            assert program in OF_ROOT or program.endswith("/bin/pip") or program == "uv", line
        if program == "omnijet":
            parser_of(words[1]).parse_args(words[2:])
        elif program.endswith("pip") or program == "uv":
            _require_extras(words)
        elif "/" not in program:
            assert program in PROGRAMS | OF_ROOT | {"grep", "tail"}, line


def _require_extras(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        if found := re.fullmatch(r"omnijet\[(.+)\]", word):
            assert set(found[1].split(",")) <= set(project["optional-dependencies"]), words
