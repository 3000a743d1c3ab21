"""Opens a bundle for the verbs that run a model."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from omnijet.runtime.backends.choose import BACKENDS, DEFAULT, backend_for
from omnijet.runtime.bundle.checked import require_as_checked
from omnijet.runtime.bundle.folder import Bundle, rebuild_command
from omnijet.runtime.bundle.manifest import EngineEntry
from omnijet.runtime.commands.console import byte_progress, say
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.machine.platform import Platform
from omnijet.runtime.machine.root import machine_root
from omnijet.runtime.machine.ways import cuda_provider_runs
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model

DRIVER_FILES = ("dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")
"""Devices that NVIDIA's drivers create on workstations, on Jetsons and under WSL."""


def opened(args: Namespace, threads: int = 0) -> Omni:
    """Opens the bundle with the backend that the options name. Raises `OmnijetError`."""
    bundle = Bundle.open(args.bundle)
    was_checked = _compared(bundle)
    backend = backend_for(bundle, args.provider, args.engines, threads)
    if not was_checked:  # said late: an error says more
        say(f"not checked on this machine: omnijet check {shell_quoted(bundle.folder)}")
    if args.provider is None and args.engines is None:
        say(hint(bundle))
    return Omni(Model(bundle, backend))


def _compared(bundle: Bundle) -> bool:
    """Refuses a bundle that changed since it was checked; returns whether it ever was.

    Raises:
        OmnijetError: files differ; the message lists them.
    """
    with byte_progress() as progress:
        task = progress.add_task("hashing what changed", total=None, visible=False)
        return require_as_checked(bundle, lambda n: progress.update(task, advance=n, visible=True))


def has_driver(root: Path = Path("/")) -> bool:
    """Returns whether there seems to be a GPU, without loading a library."""
    return any((root / file).exists() for file in DRIVER_FILES)


def hint(bundle: Bundle, root: Path | None = None) -> str | None:
    """Returns a hint if there is a GPU that the options do not use, and a way to use it here.

    There is no hint where the CPU cannot run the bundle: the error names the alternatives then.

    Args:
        root: the folder with /proc and /dev; None: this machine's.
    """
    root = machine_root() if root is None else root
    precision = bundle.manifest.precision
    if not has_driver(root) or precision not in DEFAULT.backend_class().precisions:
        return None
    way = _way(bundle, Platform.read(root))
    return way and f"this machine has a GPU, but the model runs on the CPU: {way}"


def _way(bundle: Bundle, platform: Platform) -> str | None:
    """Returns how a bundle runs on this machine's GPU; None: there is no way."""
    manifest = bundle.manifest
    ways = [
        f"--engines {target}" for target in manifest.engine_targets
        if platform.compute_capability in (None, *_capabilities(manifest.engines[target]))
    ]  # fmt: skip
    if not ways and cuda_provider_runs(platform):
        ways = [
            f"--provider {row.name}" for row in BACKENDS
            if row.option == "provider" and row.on_gpu
            and manifest.precision in row.backend_class().precisions
        ][:1]  # fmt: skip
    if ways:
        return f"see {' or '.join(ways)}"
    # `build` refuses what was made for a processor
    buildable = platform.is_jetson and manifest.quantization.get("form") != "cpu"
    return f"see {rebuild_command(bundle.folder, 'auto')}" if buildable else None


def _capabilities(engines: Mapping[str, EngineEntry]) -> set[int]:
    return {engine.compute_capability for engine in engines.values()}
