"""Adds references to a bundle that lacks them, such as one of an older version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omnijet.engines.build import open_for_building
from omnijet.engines.place import Move, adding_to, move_in
from omnijet.export.reference.record import Progress, lacking, with_references
from omnijet.runtime.backends.ort_installed import require_release
from omnijet.runtime.bundle.checked import forget, note_extended, recorded
from omnijet.runtime.bundle.folder import left_out, require_undamaged
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.reference.reference import FOLDER, file_of


def record_lacking(folder: Path, progress: Progress) -> list[str]:
    """Records the references that a bundle lacks, of graphs that are there.

    The bundle is complete at any moment, as while engines are built.

    Returns:
        the graphs whose references are new.

    Raises:
        OmnijetError: the bundle is damaged, somebody works on it, nobody may write there, or this
            onnxruntime is too old.
    """
    bundle = open_for_building(folder)
    absent = set(left_out(folder, bundle.manifest).values())
    if not [name for name in lacking(folder, bundle.manifest) if name not in absent]:
        return []
    require_release(folder)
    record = recorded(bundle)
    forget(folder)  # as before a build
    try:
        with adding_to(folder, FOLDER) as work:
            manifest = Manifest.read(folder)
            graphs = [name for name in lacking(folder, manifest) if name not in absent]
            for name in graphs:
                require_undamaged(folder, manifest, name)
            after = with_references(folder, manifest, graphs, progress, work)
            made = [name for name in manifest.graphs if (work / file_of(name)).exists()]
            names = [file_of(name) for name in made]
            before = replace(
                manifest, files={k: v for k, v in manifest.files.items() if k not in names}
            )
            move_in(folder, work, Move({n: work / n for n in names}, manifest, before, after))
    finally:
        note_extended(bundle, record)
    return made
