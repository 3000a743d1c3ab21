"""Opens a bundle for the verbs that run a model."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from omnijet.runtime.backends.choose import BACKENDS, DEFAULT, backend_for
from omnijet.runtime.bundle.checked import require_as_checked
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import byte_progress, say
from omnijet.runtime.files.names import shell_quoted
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


def hint(bundle: Bundle, root: Path = Path("/")) -> str | None:
    """Returns a hint if there is a GPU that the options do not use.

    There is no hint where the CPU cannot run the bundle: the error names the alternatives then.
    """
    precision = bundle.manifest.precision
    if not has_driver(root) or precision not in DEFAULT.backend_class().precisions:
        return None
    ways = [f"--engines {target}" for target in bundle.manifest.engine_targets] or [
        f"--provider {row.name}"
        for row in BACKENDS
        if row.option == "provider" and row.on_gpu and precision in row.backend_class().precisions
    ][:1]
    if not ways:
        return None
    return f"this machine has a GPU, but the model runs on the CPU: see {' or '.join(ways)}"
