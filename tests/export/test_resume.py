"""An export that was cut goes on with its finished graphs; an edited checkpoint begins anew."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from omnijet.export import stages
from omnijet.export.stages import export_bundle
from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.work_folder import DONE, MARKER
from tests.traces import sharing_tracer


@pytest.fixture
def checkpoint(nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that a test may edit; traces are those of the whole run."""
    monkeypatch.setattr(stages, "traced_graphs", sharing_tracer(nano[1].parent / "traces"))
    (tmp_path / "home").mkdir()
    return Path(shutil.copytree(nano[0], tmp_path / "checkpoint"))


def cut_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[str]:
    """Makes the writing of a graph fail; returns a list of those that are written."""
    written: list[str] = []
    write = stages.write_graph

    def cut(model: Any, sources: Any, contract: Any, *rest: Any) -> Any:
        if len(written) == number:
            raise error
        written.append(contract.name)
        return write(model, sources, contract, *rest)

    monkeypatch.setattr(stages, "write_graph", cut)
    return written


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files(manifest: Manifest) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in manifest.files.items()}


def test_a_full_disk_leaves_finished_graphs_and_the_same_export_goes_on(
    nano: tuple[Path, Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = tmp_path / "home/out"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        before = cut_at(patch, 4, full_disk())
        export_bundle(checkpoint, out)
    (folder,) = out.parent.iterdir()
    assert {path.name for path in folder.iterdir()} == {MARKER, DONE} and len(before) == 4
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        after = cut_at(patch, 9, full_disk())
        manifest = export_bundle(checkpoint, out)
    assert "taken over: " in caplog.text
    assert len(after) == 2 and {*before, *after} == set(manifest.graphs)
    assert files(manifest) == files(Bundle.open(nano[1]).manifest)
    assert check_files(Bundle.open(out)) == [] and list(out.parent.iterdir()) == [out]


def test_a_checkpoint_that_was_edited_meanwhile_begins_anew(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "home/out"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        cut_at(patch, 4, full_disk())
        export_bundle(checkpoint, out)
    os.utime(next(checkpoint.glob("*.safetensors")), ns=(5, 5))
    written = cut_at(monkeypatch, 9, full_disk())
    export_bundle(checkpoint, out)
    assert len(written) == 6 and list(out.parent.iterdir()) == [out]


def test_a_checkpoint_that_is_edited_while_it_is_read_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    def edit(what: str, done: int, total: int) -> None:
        if what == "writing weights":
            os.utime(checkpoint / "config.json", ns=(done, done))

    with pytest.raises(OmnijetError, match="edited while it was exported") as caught:
        export_bundle(checkpoint, tmp_path / "home/out", progress=edit)
    assert "config.json" in str(caught.value.got)
    assert not list((tmp_path / "home").iterdir())


def test_an_interrupt_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        export_bundle(checkpoint, tmp_path / "home/out")
    assert not list((tmp_path / "home").iterdir())
