"""A bundle that another machine has sent takes its place here, once all of it is right."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from errno import EXDEV
from pathlib import Path

from omnijet.deployment.deploy.events import Event, Told
from omnijet.deployment.deploy.folder import Folder, read_whole
from omnijet.deployment.deploy.journal import FILE_NAME as STEPS
from omnijet.deployment.deploy.journal import Journal, parsed_records
from omnijet.deployment.deploy.order import FILE_NAME as ORDER
from omnijet.deployment.deploy.order import Order
from omnijet.runtime.bundle.checked import note_written
from omnijet.runtime.bundle.folder import misfits
from omnijet.runtime.bundle.manifest import FILE_NAME as MANIFEST
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.bundle.output import staged_bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.disk import sync_tree
from omnijet.runtime.files.removal import content
from omnijet.runtime.files.whole_file import write_whole

SENT = ("plan.json", "fidelity.json", "fidelity.html")
"""Results that travel with the order and the journal."""
MADE_ELSEWHERE = ("plan", "export", "quantize", "check")
MOST_BYTES = 64 << 20
SHOWN = 5  # faults in a message


def receive(folder: Folder, journal: Journal, told: Told) -> None:
    """Puts what arrived into place; does nothing if nothing has.

    The order comes last, so that a kill in the middle is made good by the next call.

    Raises:
        OmnijetError: files differ from what was sent. They are removed, and sent again by the same
            command line; what is right stays.
    """
    if not (folder.arriving / ORDER).is_file():
        return
    order = Order.read(folder.arriving)
    bundle = folder.arriving / "bundle"
    if bundle.is_dir():
        _require_as_sent(bundle, told)
        sync_tree(bundle)  # a long wait, before the step that must be short
        with staged_bundle(folder.bundle, replace=True) as place:
            _move(bundle, place)
        note_written(folder.bundle)
    for name in SENT:
        sent = read_whole(folder.arriving / name, MOST_BYTES)
        if sent:
            write_whole(folder.root / name, sent, follow_link=False)
    said = read_whole(folder.arriving / STEPS, MOST_BYTES)
    records = parsed_records(said.decode("utf-8", "replace"))
    for step in MADE_ELSEWHERE:
        journal.forget(step)
        if step in records:
            journal.take(step, records[step])
    order.write(folder.root)
    shutil.rmtree(folder.arriving, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Moves a folder to the place of an empty one; copies it if that is on another disk."""
    target.rmdir()
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        shutil.copytree(source, target)
        sync_tree(target)


def _require_as_sent(bundle: Path, told: Told) -> None:
    manifest = Manifest.read(bundle)
    # this folder is ours alone: what an earlier order left there goes
    for name in content(bundle):
        if name not in manifest.files and name != MANIFEST:
            with suppress(OSError):
                (bundle / name).unlink()
    total, done = sum(entry.bytes for entry in manifest.files.values()), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        told(Event("progress", "copy", "comparing with what was sent", done, max(total, done)))

    faults = misfits(bundle, manifest.files)
    wrong = {fault.rpartition(": ")[0] for fault in faults}
    for name, entry in manifest.files.items():
        if name not in wrong and hash_file(bundle / name, advance) != entry:
            faults.append(f"{name}: other content")
            (bundle / name).unlink()
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise OmnijetError(
            f"{len(faults)} files did not arrive as they were sent",
            where=bundle,
            got="\n".join([*faults[:SHOWN], *more]),
            fix="send them again with the same command line: what is right stays",
        )
