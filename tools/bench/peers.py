"""`python -m tools.bench.peers install NAME`: environments of the programs that we compare with.

Each has a folder of its own, build/peers/NAME, and nothing of it is imported here. `llama` is
llama-cpp-python (MIT) with the llama.cpp (MIT) that it carries: pip compiles it for this
processor, which takes 5 to 10 minutes on two cores. transformers (Apache-2.0), the other peer, is
in the development environment already.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from omnijet.runtime.errors import OmnijetError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program in an environment of its own.

    Attributes:
        packages: what pip installs, pinned.
        settings: environment variables of the build.
    """

    name: str
    packages: tuple[str, ...]
    licence: str
    settings: Mapping[str, str] = field(default_factory=dict)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "llama",
            ("llama-cpp-python==0.3.36", "gguf==0.19.0"),
            "MIT",
            {
                # built here, for this processor; no library of another make is taken
                "CMAKE_ARGS": "-DGGML_NATIVE=ON",
                "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
            },
        ),
    )
}


def python_of(name: str, folder: Path = FOLDER) -> Path | None:
    """Returns the interpreter of a peer's environment; None if it was not installed."""
    path = folder / name / "bin" / "python"
    return path if (folder / name / ".installed").exists() or _answers(path, name) else None


def _answers(python: Path, name: str) -> bool:
    """Returns whether an environment that somebody else made has the pinned packages."""
    if not python.exists():
        return False
    wanted = [package.split("==") for package in PEERS[name].packages]
    asked = "from importlib.metadata import version as v; print(*(v(n) for n in {}))"
    command = [str(python), "-c", asked.format([package for package, _ in wanted])]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.split() == [version for _, version in wanted]


def install(name: str, folder: Path = FOLDER) -> Path:
    """Makes the environment of a peer, unless it is there. Returns its interpreter.

    Raises:
        OmnijetError: pip failed.
    """
    found = python_of(name, folder)
    if found is not None:
        return found
    peer, place = PEERS[name], folder / name
    venv.create(place, with_pip=True, clear=True)
    python = place / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *peer.packages]
    print("$", "pip install", *peer.packages, file=sys.stderr, flush=True)
    if subprocess.run(command, env={**os.environ, **peer.settings}).returncode:
        raise OmnijetError(
            f"the peer {name} could not be installed",
            where=place,
            expected="a C++ compiler, and a package index that pip reaches",
            fix="the lines above say why; then run the same command again",
        )
    (place / ".installed").touch()
    return python


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.peers", description=__doc__)
    parser.add_argument("action", choices=("install", "list"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in PEERS]:
        parser.error(f"there is no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    try:
        for name in options.names or PEERS:
            if options.action == "install":
                install(name, options.folder)
            state = "installed" if python_of(name, options.folder) else "not installed"
            print(f"{name}: {', '.join(PEERS[name].packages)} ({PEERS[name].licence}), {state}")
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
