"""Says why a turn failed where its graphs cannot know: NaN or infinity, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.model.finite import NotFinite
from omnijet.runtime.shortage import OutOfMemory, out_of_memory, ran_out


@contextmanager
def explained(bundle: Bundle) -> Iterator[None]:
    """Adds the likely cause and the way out to a `NotFinite` of the bundle's graphs.

    What else was told in other words becomes `OutOfMemory` if memory ran out.
    """
    try:
        yield
    except NotFinite as error:
        if error.fix is not None:
            raise
        raise error.because(likely_cause(bundle)) from None
    except OutOfMemory:
        raise
    except (MemoryError, OmnijetError) as error:
        if not ran_out(error):
            raise
        raise out_of_memory(error, where=bundle.folder) from error


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
