"""Says why the graphs of a bundle may have computed NaN or infinity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.files import shell_quoted
from omnijet.runtime.model.finite import NotFinite


@contextmanager
def explained(bundle: Bundle) -> Iterator[None]:
    """Adds the likely cause and the way out to a `NotFinite` of the bundle's graphs."""
    try:
        yield
    except NotFinite as error:
        if error.fix is not None:
            raise
        raise error.because(likely_cause(bundle)) from None


def likely_cause(bundle: Bundle) -> str:
    """Returns what probably went wrong in a bundle of this precision, and what to do about it."""
    manifest = bundle.manifest
    check = f"`omnijet check {shell_quoted(bundle.folder)}` (--deep reads the weights, too)"
    damaged = f"look for damaged files with {check}"
    if manifest.quantization:
        recipe = manifest.quantization.get("recipe", "its own")
        return (
            f"the recipe {recipe} may be too coarse for these weights: run the bundle that it was "
            f"made from, or quantize that with another recipe; or {damaged}"
        )
    if manifest.precision == "f16":
        return (
            "f16 probably overflowed, it ends at 65504: export the checkpoint with --dtype bf16 or "
            f"--dtype f32; or {damaged}"
        )
    return f"the weights are probably damaged: {damaged}, and export a checkpoint that is whole"
