"""Compares one graph of a bundle with its reference, in a process that may crash or hang.

The process reads a job as JSON from stdin and prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omnijet.runtime.backends.choose import BACKENDS, DEFAULT, backend_for
from omnijet.runtime.backends.ort_built import BuiltGraphs, misfit
from omnijet.runtime.backends.ort_cpu import OrtBackend, lacks_kernel
from omnijet.runtime.backends.ort_installed import cpu_target
from omnijet.runtime.backends.protocol import Backend, Graph
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.reference.comparison import Comparison, compare
from omnijet.runtime.reference.gate import Machine
from omnijet.runtime.reference.reference import Reference
from omnijet.runtime.reference.replay import TooSmall


def main() -> None:
    """Prints `{"comparison": ...}`, `{"cannot run": ...}` or `{"not compared": ...}` with the parts
    of an error that says why, of this machine or of this graph, or `{"error": ...}`.
    """
    job = json.load(sys.stdin)
    try:
        print("\n" + json.dumps(trial(job)), flush=True)
    except OmnijetError as error:
        print("\n" + json.dumps({"error": told(error)}), flush=True)


def trial(job: dict[str, Any]) -> dict[str, Any]:
    """Does a job.

    Raises:
        OmnijetError: the engine cannot be loaded, or fails.
    """
    bundle, name = Bundle.open(Path(job["bundle"])), job["graph"]
    try:
        backend = opened(bundle, job["provider"], job["engines"], job["on_processor"])
    except OmnijetError as error:
        return {"cannot run": parts(error)}
    try:
        reference = Reference.of(bundle, name)
    except OmnijetError as error:
        backend.close()
        return {"not compared": parts(error)}
    try:
        try:
            graph = _loaded(backend, bundle, name, job)
        except OmnijetError as error:
            if not job["on_processor"]:
                raise
            return {"not compared": parts(_lacking(bundle, job, error))}
        on_gpu = _on_gpu(job)
        machine = Machine.of(bundle.manifest, name, on_gpu=on_gpu)
        found = compare(graph, reference, bundle.manifest.dims, machine)
    except TooSmall as error:
        return {"not compared": parts(error)}
    finally:
        backend.close()
    return {"comparison": to_json(found), "ran": backend.name}


def opened(
    bundle: Bundle, provider: str | None, engines: str | None, on_processor: bool
) -> Backend:
    """Opens what runs the graphs.

    Args:
        on_processor: whether graphs that were built for the provider run on the processor.

    Raises:
        OmnijetError: it cannot run here.
    """
    if not on_processor:
        return backend_for(bundle, provider, engines)
    assert provider is not None
    return OrtBackend(built=BuiltGraphs.of(bundle, provider))


def _loaded(backend: Backend, bundle: Bundle, name: str, job: dict[str, Any]) -> Graph:
    """Loads a graph: where one was built, that one and no other."""
    manifest = bundle.manifest
    entry = manifest.engines.get(_built_for(job), {}).get(name)
    if entry is not None and entry.ort is not None:
        if reason := misfit(bundle, entry, entry.ort):
            raise OmnijetError("the built graph does not run here", got=reason)
        if isinstance(backend, OrtBackend) and not _on_gpu(job):
            contract = manifest.contracts_in(entry.ort.precision)[name]
            with bundle.watch.reading(*entry.files):
                return backend.plain(bundle.folder / entry.file, contract)
    files = manifest.graphs[name]
    read = () if job["engines"] is not None else (files.file, files.weights)
    with bundle.watch.reading(*read):
        return backend.load(bundle.graph(name), manifest.contracts[name])


def _lacking(bundle: Bundle, job: dict[str, Any], error: OmnijetError) -> OmnijetError:
    """Returns the error of a processor that has not all kernels of a graph for a GPU."""
    if not lacks_kernel(error):
        return error
    provider = (
        job["provider"] if job["provider"] in {row.name for row in BACKENDS} else DEFAULT.name
    )
    return OmnijetError(
        "this processor has no kernels for it",
        where=error.where,
        got=error.got,
        fix="on a machine that has: "
        f"omnijet check {shell_quoted(bundle.folder)} --provider {provider}",
    )


def _built_for(job: dict[str, Any]) -> str:
    """Returns the target whose built graphs run; "" if engines do."""
    if job["engines"] is not None:
        return ""
    provider: str = job["provider"] or DEFAULT.name
    return cpu_target() if provider == DEFAULT.name else provider


def _on_gpu(job: dict[str, Any]) -> bool:
    if job["on_processor"]:
        return False
    rows = {row.name: row for row in BACKENDS}
    return job["engines"] is not None or rows[job["provider"] or DEFAULT.name].on_gpu


def to_json(found: Comparison) -> dict[str, Any]:
    """Returns what the command prints of a comparison."""
    worst, (top, rows) = found.worst, found.top
    return {
        "snr_db": round(worst.distance.snr_db, 1),
        "cosine": round(worst.distance.cosine, 6),
        "least_db": worst.least_db,
        "output": worst.output,
        "top": top,
        "rows": rows,
        "faults": found.faults,
        "outputs": [asdict(one) for one in found.outputs],
    }


def parts(error: OmnijetError) -> dict[str, str | None]:
    """Returns an error in the types of JSON."""
    values = {"where": error.where, "expected": error.expected, "got": error.got, "fix": error.fix}
    told = {name: None if value is None else str(value) for name, value in values.items()}
    return {"what": error.what, **told}


def told(error: OmnijetError) -> str:
    """Returns an error in one line."""
    return f"{error.what}: {error.got}" if error.got else error.what
