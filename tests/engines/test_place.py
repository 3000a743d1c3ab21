"""What a build puts into a bundle, replaces and removes: what it made, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnijet.engines import place as place_module
from omnijet.engines.build import without_engine
from omnijet.engines.place import Move, building_in, move_in, require_place, strangers
from omnijet.runtime.bundle.manifest import FILE_NAME, EngineEntry, Manifest, hash_file
from omnijet.runtime.bundle.stamp import Stamp
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.work_folder import MARKER
from tests.runtime.files.power import cuts, record, tree

TARGET, GRAPH = "rtx-ampere", "vocoder"
NAMES = tuple(f"engines/{TARGET}/{GRAPH}.{kind}" for kind in ("engine", "json", "log"))
OWN = "a user's own file"


@pytest.fixture
def bundle(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """A manifest without its files: a build touches no other."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(nano[1] / FILE_NAME, folder)
    return folder


def moving(bundle: Path, work: Path, text: str) -> Move:
    """Makes files of an engine in the work folder."""
    files = {name: work / Path(name).name for name in NAMES}
    for name, path in files.items():
        path.write_text(f"{text} {name}")
    original = Manifest.read(bundle)
    before = without_engine(original, TARGET, GRAPH)
    entry = EngineEntry(
        NAMES[0], "0" * 64, "tensorrt_rtx", "1.7.0", 86, ({"frames": (1, 4, 8)},), True,
        files[NAMES[0]].stat().st_size, 9, 1.0, 10,
    )  # fmt: skip
    hashes = {name: hash_file(path) for name, path in files.items()}
    after = replace(before, engines={TARGET: {GRAPH: entry}}, files={**before.files, **hashes})
    return Move(files, original, before, after)


def build(bundle: Path, text: str = "first") -> None:
    with building_in(bundle, TARGET) as work:
        require_place(bundle, NAMES, Manifest.read(bundle))
        move_in(bundle.resolve(), work, moving(bundle, work, text))


def own(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN)
    return path


def assert_whole(bundle: Path) -> None:
    """Checks that the files below `engines/` that the manifest names are there and right."""
    for name, entry in Manifest.read(bundle).files.items():
        if name.startswith("engines/"):
            assert hash_file(bundle / name) == entry


def test_an_engine_is_moved_in_and_replaced(bundle: Path) -> None:
    for text in ("first", "second"):
        build(bundle, text)
        assert_whole(bundle)
        assert (bundle / NAMES[0]).read_text() == f"{text} {NAMES[0]}"
    assert strangers(bundle) == [] and list(Manifest.read(bundle).engines) == [TARGET]
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


@pytest.mark.parametrize("linked", ["engines", f"engines/{TARGET}"])
def test_nothing_behind_a_link_is_touched(bundle: Path, tmp_path: Path, linked: str) -> None:
    kept = own(tmp_path / "elsewhere" / "photo.txt")
    (bundle / linked).parent.mkdir(exist_ok=True)
    (bundle / linked).symlink_to(kept.parent)
    with pytest.raises(OmnijetError, match="a link to") as caught:
        build(bundle)
    assert "mount" in str(caught.value.fix)
    assert kept.read_text() == OWN and os.listdir(kept.parent) == [kept.name]


def test_folders_that_look_like_ours_stay(bundle: Path, tmp_path: Path) -> None:
    kept = [own(tmp_path / f".bundle.engines{end}" / "photo.txt") for end in ("", "-abc12")]
    linked = own(tmp_path / "elsewhere" / MARKER)
    (tmp_path / ".bundle.engines-link1").symlink_to(linked.parent)
    (tmp_path / ".bundle.engines-link2").mkdir()
    (tmp_path / ".bundle.engines-link2" / MARKER).symlink_to(linked)
    build(bundle)
    assert all(path.read_text() == OWN for path in (*kept, linked))


def test_a_planted_link_beside_the_manifest_leads_nowhere(bundle: Path, tmp_path: Path) -> None:
    kept = own(tmp_path / "elsewhere")
    (bundle / f".{FILE_NAME}.partial").symlink_to(kept)
    build(bundle)
    assert kept.read_text() == OWN


def test_files_of_a_user_stay_and_are_told(bundle: Path) -> None:
    kept = [own(bundle / name) for name in ("engines/notes.txt", f"engines/{TARGET}/my.engine")]
    build(bundle)
    build(bundle, "second")
    assert all(path.read_text() == OWN for path in kept)
    assert strangers(bundle) == ["engines/notes.txt", f"engines/{TARGET}/my.engine"]


def test_a_file_of_a_user_in_the_place_of_an_engine_stays(bundle: Path) -> None:
    kept = own(bundle / NAMES[0])
    with pytest.raises(OmnijetError, match="did not make"):
        build(bundle)
    assert kept.read_text() == OWN


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_appears_while_an_engine_is_built_stays(bundle: Path, name: str) -> None:
    with building_in(bundle, TARGET) as work:
        move = moving(bundle, work, "first")
        kept = own(bundle / name)
        with pytest.raises(OmnijetError, match="did not make"):
            move_in(bundle, work, move)
    assert kept.read_text() == OWN and strangers(bundle) == [name]
    assert Manifest.read(bundle) == move.original


class Killer:
    """Ends the process at its Nth step that changes a file system."""

    STEPS = ("replace", "rename", "link", "unlink", "rmdir", "mkdir", "fsync", "open")

    def __init__(self, moment: int) -> None:
        self._left = moment

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def cut(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                os._exit(9)
            return step(*args, **options)

        return cut


def killed_build(bundle: Path, text: str, moment: int) -> bool:
    """Builds in a child that is killed at a step; returns whether it was."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    try:
        killer = Killer(moment)
        for name in Killer.STEPS:
            setattr(os, name, killer.around(getattr(os, name)))
        place_module.rename_new = killer.around(place_module.rename_new)
        build(bundle, text)
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_killed_at_every_step_it_heals(bundle: Path) -> None:
    kept = own(bundle / "engines" / "notes.txt")
    build(bundle)
    moment, texts = 0, set()
    while killed_build(bundle, f"killed {moment}", moment):
        assert_whole(bundle)
        assert kept.read_text() == OWN
        with building_in(bundle, TARGET) as work:
            require_place(bundle, NAMES, Manifest.read(bundle))
            assert strangers(bundle) == ["engines/notes.txt"]
        assert_whole(bundle)
        texts.add(bool(Manifest.read(bundle).engines))
        assert {path.name for path in bundle.iterdir()} == {"engines", FILE_NAME}
        assert [path.name for path in work.parent.iterdir()] == [bundle.name]
        moment += 1
    assert moment > 30 and texts == {True, False}
    assert (bundle / NAMES[0]).read_text() == f"killed {moment} {NAMES[0]}"


def test_two_builds_do_not_meet(bundle: Path) -> None:
    with building_in(bundle, TARGET), pytest.raises(OmnijetError, match="at work") as caught:
        build(bundle)
    assert str(os.getpid()) in str(caught.value.got)


@pytest.mark.parametrize("mounted", ["", "engines", f"engines/{TARGET}"])
def test_on_a_mounted_disk_all_is_within(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, mounted: str
) -> None:
    disk = bundle / mounted
    disk.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(place_module, "is_mounted", lambda path: path == disk)
    with building_in(bundle, TARGET) as work:
        assert disk in work.parents
        assert strangers(bundle) == []
        move_in(bundle, work, moving(bundle, work, "first"))
    assert_whole(bundle)
    assert strangers(bundle) == []


def test_beside_a_bundle_nobody_need_write(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != bundle.parent and real(path, mode))
    with building_in(bundle, TARGET) as work:
        assert bundle in work.parents
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
        move_in(bundle, work, moving(bundle, work, "first"))
    assert_whole(bundle)
    assert {path.name for path in bundle.iterdir()} == {"engines", FILE_NAME}


def test_a_blob_of_the_hub_and_a_hard_link_keep_their_content(bundle: Path, tmp_path: Path) -> None:
    manifest, blob, twin = bundle / FILE_NAME, tmp_path / "blob", tmp_path / "twin"
    content = manifest.read_bytes()
    manifest.rename(blob)
    manifest.symlink_to(blob)
    build(bundle)
    assert not manifest.is_symlink() and blob.read_bytes() == content
    with_engine = manifest.read_bytes()
    os.link(manifest, twin)
    build(bundle, "second")
    assert twin.read_bytes() == with_engine != manifest.read_bytes()


def test_partial_manifests_are_swept_even_if_nothing_is_written(bundle: Path) -> None:
    ours = bundle / f".omnijet-{'0' * 16}.partial"
    ours.write_bytes((bundle / FILE_NAME).read_bytes()[:3000])
    kept = own(bundle / f".omnijet-{'1' * 16}.partial")
    with building_in(bundle, TARGET):
        pass
    assert not ours.exists() and kept.read_text() == OWN


def test_a_planted_journal_removes_nothing_of_a_user(bundle: Path, tmp_path: Path) -> None:
    kept = [own(bundle / "README.txt"), own(bundle / "engines" / "notes.txt"), own(tmp_path / "x")]
    left = tmp_path / ".bundle.engines-planted1"
    left.mkdir()
    (left / MARKER).touch()
    first = Stamp.of(kept[0])
    assert first is not None
    identity = [first.inode, first.bytes, first.modified_ns]
    names = ("README.txt", "../x", "engines/../../x", "engines/notes.txt", FILE_NAME)
    (left / place_module.JOURNAL).write_text(json.dumps({name: [identity] for name in names}))
    build(bundle)
    assert all(path.read_text() == OWN for path in kept) and not left.exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_loss_of_power_leaves_engines_that_are_whole(
    bundle: Path, tmp_path: Path, again: bool
) -> None:
    """A manifest names no engine whose files, or the folders above them, may be gone."""
    if again:
        build(bundle, "first")
    before, log = tree(tmp_path), tmp_path.with_suffix(".log")
    assert record(log, lambda: build(bundle, "second")) == 0
    named = set()
    for number, state in cuts(tmp_path, before, log):
        content = state["bundle/manifest.json"]
        assert content, number
        files = {k: v for k, v in json.loads(content)["files"].items() if k.startswith("engines/")}
        named.add(len(files))
        for name, entry in files.items():
            there = state.get(f"bundle/{name}") or b""
            assert hashlib.sha256(there).hexdigest() == entry["sha256"], (number, name)
    assert named == {0, len(NAMES)}


def test_what_killed_builds_left_is_removed_wherever_they_worked(bundle: Path) -> None:
    """On a mounted disk that depends on the folders that there were."""
    homes = [bundle.parent, *(bundle / "engines" / name for name in ("", TARGET, "rtx-ada"))]
    for home in homes:
        home.mkdir(parents=True, exist_ok=True)
        (home / ".bundle.engines-abc").mkdir()
        (home / ".bundle.engines-abc" / MARKER).touch()
        kept = own(home / ".bundle.engines-user" / "photo.txt")
        assert kept.exists()
    build(bundle)
    for home in homes:
        assert not (home / ".bundle.engines-abc").exists()
        assert (home / ".bundle.engines-user/photo.txt").read_text() == OWN
