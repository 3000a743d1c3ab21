"""The bundle: whether it opens, whether it was checked, and what can run it here."""

from __future__ import annotations

from omnijet.runtime.bundle.checked import Record, manifest_hash
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.doctor.engine_state import engine_state
from omnijet.runtime.doctor.finding import Finding, fault, note, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line

MOST_SAID = 300
FLOATS = ("f32", "f16")
"""What ONNX Runtime's kernels for the processor compute with, besides integers."""


def bundle(here: Here) -> Finding | None:
    """Says whether the bundle opens."""
    if here.bundle is None:
        return None
    check = f"omnijet check {here.bundle_word}"
    try:
        found = Bundle.open(here.bundle).manifest
    except OmnijetError as error:
        got = "" if error.got is None else f": {one_line(str(error.got))[:MOST_SAID]}"
        line = (
            check if here.manifest is not None else f"omnijet export CHECKPOINT {here.bundle_word}"
        )
        return fault(f"{error.what}{got}", line, here.bundle_private)
    recipe = found.quantization.get("recipe")
    size = sum(entry.bytes for entry in found.files.values())
    return ok(f"{found.precision}{', quantized' if recipe else ''}, {len(found.files)} files, "
              f"{size_text(size)}")  # fmt: skip


def checked(here: Here) -> Finding | None:
    """Says whether the bundle is the one that `omnijet check` passed on this machine."""
    if here.bundle is None or here.manifest is None:
        return None
    check = f"omnijet check {here.bundle_word}"
    try:
        found = Bundle.open(here.bundle)
    except OmnijetError:
        return None  # said already
    record = Record.read(here.bundle)
    if record is None:
        return note("it was never checked on this machine", check, here.bundle_private)
    if record.manifest != manifest_hash(found):
        return fault("it is not the one that was checked on this machine, and will be refused",
                     check, here.bundle_private)  # fmt: skip
    if changed := record.changed(found):
        return note(f"{len(changed)} files were touched since it was checked, and are read again "
                    "at the next start", check, here.bundle_private)  # fmt: skip
    return ok("as it was when `omnijet check` passed")


def ways(here: Here) -> Finding | None:
    """Says what can run the bundle on this machine."""
    if here.bundle is None or here.manifest is None:
        return None
    found = [
        f"--engines {target}"
        for target in here.manifest.engine_targets
        if engine_state(here, target).state == "ok"
    ]
    if on_processor(here):
        found.append("the processor")
    if not found:
        on_gpu = here.platform.compute_capability is not None
        return fault("nothing on this machine can run the bundle as it is",
                     f"omnijet build {here.bundle_word} --target {'auto' if on_gpu else 'cpu'}",
                     here.bundle_private)  # fmt: skip
    return ok(" or ".join(found))


def on_processor(here: Here) -> bool:
    """Returns whether ONNX Runtime can run the bundle on the processor."""
    assert here.manifest is not None
    library = here.libraries("onnxruntime")
    if not library.works:
        return False
    from omnijet.runtime.backends.ort_release import is_new_enough, target_of

    target = target_of(library.version)
    if target is None:
        return False
    if is_new_enough(library.version) and here.manifest.precision in FLOATS:
        return True
    built = here.manifest.engines.get(target, {})
    whole = set(built) >= set(here.manifest.graphs)
    return whole and engine_state(here, target).state == "ok"
