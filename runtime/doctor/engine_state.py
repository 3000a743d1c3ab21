"""What was built for a target: whether it is whole, and of the library and GPU of this machine."""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.runtime.backends.trt.library import TITLES
from omnijet.runtime.bundle.folder import Bundle, left_out, misfits, rebuild_command
from omnijet.runtime.bundle.manifest import EngineEntry
from omnijet.runtime.doctor.engine_libraries import RTX
from omnijet.runtime.doctor.finding import Finding, fault, note, ok, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.errors import OmnijetError

SHOWN = 3
Entries = Mapping[str, EngineEntry]


def engine_state(here: Here, target: str) -> Finding:
    """Says whether what was built for a target can run here."""
    assert here.bundle is not None and here.manifest is not None
    entries = here.manifest.engines[target]
    if any(entry.ort is not None for entry in entries.values()):
        return _built_graphs(here, target)
    first = next(iter(entries.values()))
    capability = here.platform.compute_capability
    others = sorted({entry.compute_capability for entry in entries.values()} - {capability})
    if others:
        mine = "this machine has no GPU" if capability is None else f"this GPU is SM{capability}"
        return note(f"for other machines: SM{', SM'.join(map(str, others))}, and {mine}")
    if faults := _incomplete(here, entries):
        return _rebuild(here, target, "; ".join(faults[:SHOWN]))
    library, title = here.libraries(first.library), TITLES[first.library]
    if not library.works:
        return fault(f"{title} {first.version} built them, and {title} does not load: "
                     f"{library.error}", _get(here, first), here.install.private)  # fmt: skip
    stale = sorted({entry.version for entry in entries.values()} - {library.version})
    if stale:
        return _rebuild(here, target, f"stale: built by {title} {', '.join(stale)}, and here is "
                                      f"{library.version}")  # fmt: skip
    return ok(f"fresh: {len(entries)} engines of {title} {library.version} for SM{capability}")


def _built_graphs(here: Here, target: str) -> Finding:
    """Says the same of graphs for ONNX Runtime: without them the bundle's own run, slower."""
    assert here.bundle is not None and here.manifest is not None
    if not here.libraries("onnxruntime").works:
        return unknown("ONNX Runtime does not load")
    from omnijet.runtime.backends.ort_built import misfit  # imports onnxruntime, which works

    try:
        opened = Bundle.open(here.bundle)
    except OmnijetError:
        return unknown("the bundle does not open")
    entries = here.manifest.engines[target]
    reasons = {
        reason
        for entry in entries.values()
        if entry.ort is not None and (reason := misfit(opened, entry, entry.ort)) is not None
    }
    if reasons:
        return note(f"not used: {'; '.join(sorted(reasons)[:SHOWN])}",
                    rebuild_command(here.bundle, target), here.bundle_private)  # fmt: skip
    return ok(f"fresh: {len(entries)} graphs for ONNX Runtime")


def _incomplete(here: Here, entries: Entries) -> list[str]:
    """Returns a line for each engine that is missing or cut off."""
    assert here.bundle is not None and here.manifest is not None
    known = here.manifest.files
    faults = [f"no engine of {name}" for name in here.manifest.graphs if name not in entries]
    return faults + misfits(
        here.bundle, {entry.file: known[entry.file] for entry in entries.values()}
    )


def _rebuild(here: Here, target: str, said: str) -> Finding:
    """Returns the fault of engines that must be built again."""
    assert here.bundle is not None and here.manifest is not None
    if left_out(here.bundle, here.manifest):
        said += "; the bundle's graphs were left out here: copy them back first"
    return fault(said, rebuild_command(here.bundle, target), here.bundle_private)


def _get(here: Here, entry: EngineEntry) -> str:
    """Returns the line that gets the library of an engine."""
    if entry.library == "tensorrt_rtx":
        return here.install.pip("install", RTX)
    if here.platform.is_jetson:
        return "omnijet doctor"  # the check of the bindings says why
    return here.install.pip("install", f"tensorrt=={entry.version}")
