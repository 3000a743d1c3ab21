"""Opens a bundle for the verbs that run a model: `--provider` and `--engines`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from omnijet.runtime.backends.choose import BACKENDS, DEFAULT, PROVIDERS, backend_for
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import say
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model

DRIVER_FILES = ("dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")
"""Devices that NVIDIA's drivers create on workstations, on Jetsons and under WSL."""


def add_backend(parser: ArgumentParser) -> None:
    providers = [f"{row.name}: {row.title}" for row in BACKENDS if row.option == "provider"]
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--provider",
        choices=PROVIDERS,
        help=f"what runs the ONNX graphs ({', '.join(providers)}); {DEFAULT.name} by default",
    )
    group.add_argument(
        "--engines", metavar="TARGET", help="run what `omnijet build` made for this target"
    )


def opened(args: Namespace, threads: int = 0) -> Omni:
    """Opens the bundle with the backend that the options name. Raises `OmnijetError`."""
    bundle = Bundle.open(args.bundle)
    if args.provider is None and args.engines is None:
        say(hint(bundle))
    return Omni(Model(bundle, backend_for(bundle, args.provider, args.engines, threads)))


def has_driver(root: Path = Path("/")) -> bool:
    """Returns whether there seems to be a GPU, without loading a library."""
    return any((root / file).exists() for file in DRIVER_FILES)


def hint(bundle: Bundle, root: Path = Path("/")) -> str | None:
    """Returns a hint if there is a GPU that the options do not use.

    There is no hint where the CPU cannot run the bundle: the error names the alternatives then.
    """
    precision = bundle.manifest.precision
    if not has_driver(root) or precision not in DEFAULT.backend_class().precisions:
        return None
    ways = [f"--engines {target}" for target in bundle.manifest.engines] or [
        f"--provider {row.name}"
        for row in BACKENDS
        if row.option == "provider" and row.on_gpu and precision in row.backend_class().precisions
    ][:1]
    if not ways:
        return None
    return f"this machine has a GPU, but the model runs on the CPU: see {' or '.join(ways)}"
