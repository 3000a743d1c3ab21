"""How the verbs that run a model open its bundle: `--provider` and `--engines`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from omnijet.runtime.backends.choose import PROVIDERS, backend_for
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import say
from omnijet.runtime.omni import Omni

DRIVER_FILES = ("dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")
"""What NVIDIA's drivers make: on workstations, on Jetsons, under WSL."""


def add_backend(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--provider", choices=PROVIDERS, help="of ONNX Runtime: where it runs; cpu by default"
    )
    group.add_argument(
        "--engines", metavar="TARGET", help="run what `omnijet build` made for this target"
    )


def opened(args: Namespace, threads: int = 0) -> Omni:
    """The bundle, with the backend that the options name. Raises `OmnijetError`."""
    bundle = Bundle.open(args.bundle)
    if args.provider is None and args.engines is None:
        say(hint(bundle))
    return Omni(bundle, backend_for(bundle, args.provider, args.engines, threads))


def has_driver(root: Path = Path("/")) -> bool:
    """Whether there seems to be a GPU; nothing is loaded to find out."""
    return any((root / file).exists() for file in DRIVER_FILES)


def hint(bundle: Bundle, root: Path = Path("/")) -> str | None:
    """What to say if there is a GPU that nothing was asked of. Where the processor cannot do the
    work it is refused, and what refuses it says what can."""
    if not has_driver(root) or bundle.manifest.precision not in OrtBackend.precisions:
        return None
    ways = [f"--engines {target}" for target in bundle.manifest.engines] or ["--provider cuda"]
    return f"there is a GPU here, and the processor does the work: see {' or '.join(ways)}"
