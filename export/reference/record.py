"""Has references recorded in a process of its own, and names them in a manifest."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.child.start import start
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable
from omnijet.runtime.leftovers import leftover
from omnijet.runtime.reference.reference import FOLDER, Reference, file_of, made_of

_log = logging.getLogger(__name__)

CHILD: str | Path = "omnijet.export.reference.recorder"
LEAST_S = 120
BYTES_PER_S = 20_000_000
"""A process that takes longer hangs: a slow disk reads so much, and two runs take no longer."""

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total)."""


def lacking(folder: Path, manifest: Manifest) -> list[str]:
    """Returns the graphs without a reference of just these files."""
    return [graph for graph in manifest.graphs if not _is_recorded(folder, manifest, graph)]


def _is_recorded(folder: Path, manifest: Manifest, graph: str) -> bool:
    name = file_of(graph)
    with suppress(OmnijetError, OSError):
        if name in manifest.files and hash_file(folder / name) == manifest.files[name]:
            return Reference.read(folder / name).made_of == made_of(manifest, graph)
    return False


def with_references(
    folder: Path,
    manifest: Manifest,
    graphs: Collection[str],
    progress: Progress = lambda what, done, total: None,
    out: Path | None = None,
) -> Manifest:
    """Records references of graphs into a bundle's folder; returns the manifest that names them.

    A graph that cannot be recorded is warned of: the bundle is whole without, and engines of it
    cannot be compared.

    Args:
        folder: the bundle, with all files but its references; the manifest is written there.
        graphs: their names.
        out: where the files are written instead; they go into `FOLDER` there.
    """
    names = [graph for graph in manifest.graphs if graph in graphs]
    if "talker_step" in names and "thinker_step" not in names:
        names.insert(0, "thinker_step")  # the Talker reads what the Thinker made
    out = folder if out is None else out
    faults = dict.fromkeys(names, "the process ended before")
    said = _run({"bundle": folder, "out": out}, manifest, names, progress)
    for verdict in said:
        faults[str(verdict.get("graph"))] = str(verdict.get("error", ""))
    for graph in names:
        if faults[graph]:
            (out / file_of(graph)).unlink(missing_ok=True)
            _log.warning("no reference of %s is recorded: %s", graph, printable(faults[graph]))
    with suppress(OSError):
        (out / FOLDER).rmdir()  # if it is empty
    files = {k: v for k, v in manifest.files.items() if k not in map(file_of, names)}
    files |= {file_of(g): hash_file(out / file_of(g)) for g in names if not faults[g]}
    return replace(manifest, files=dict(sorted(files.items())))


def _run(
    folders: Mapping[str, Path], manifest: Manifest, graphs: Collection[str], progress: Progress
) -> list[dict[str, Any]]:
    """Returns what the process said of each graph."""
    total = sum(manifest.graphs[graph].weight_bytes for graph in graphs)
    said: list[dict[str, Any]] = []
    process: subprocess.Popen[str] = start(
        CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    clock = Timer(LEAST_S + total // BYTES_PER_S, process.kill)
    with leftover(process.kill), process:
        clock.start()
        assert process.stdin is not None and process.stdout is not None
        try:
            progress("recording references", 0, len(graphs))
            with suppress(BrokenPipeError), process.stdin:
                places = {name: str(folder.absolute()) for name, folder in folders.items()}
                json.dump({**places, "graphs": list(graphs)}, process.stdin)
            for line in process.stdout:
                with suppress(ValueError):
                    verdict = json.loads(line)
                    if isinstance(verdict, dict):
                        said.append(verdict)
                        progress("recording references", len(said), len(graphs))
        finally:
            clock.cancel()
            process.kill()
    clock.join()
    return said
