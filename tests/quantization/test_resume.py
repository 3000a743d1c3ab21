"""A quantization that was cut goes on with its finished graphs; what does not match is swept."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from omnijet import cli
from omnijet.quantization.calibration.calibrate import Limits, _key
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.work_folder import DONE, MARKER
from omnijet.runtime.omni import Omni
from tests.command import Capture, refused
from tools.kills.child import start

COMMAND = ("--recipe", "orin-int4", "--data", "none")


@pytest.fixture
def source(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    """A bundle that a test may edit."""
    (tmp_path / "home").mkdir()
    return Path(shutil.copytree(nano[1], tmp_path / "source"))


def quantize(source: Path, out: Path, processes: int = 0, cut: Callable[[], None] | None = None,
             recipe: str = "orin-int4") -> Manifest:  # fmt: skip
    bundle, chosen = Bundle.open(source), RECIPES[recipe]

    def progress(what: str, done: int, total: int) -> None:
        if what == "quantizing layers" and done == total - 2 and cut is not None:
            cut()

    plan = plan_for(bundle, chosen)
    return quantize_bundle(source, out, chosen, plan, {}, processes=processes, progress=progress)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list of the graphs that are written from now on."""
    written: list[str] = []
    finish = GraphWriter.finish

    def noted(self: GraphWriter, *args: object) -> object:
        written.append(self.layers[0].graph)
        return finish(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(GraphWriter, "finish", noted)
    return written


def left(home: Path) -> Path:
    """Returns the one work folder that was left, of which only what is finished is there."""
    (folder,) = home.iterdir()
    assert folder.name.startswith(".out.work-")
    assert {path.name for path in folder.iterdir()} == {MARKER, DONE}
    return folder


def test_the_result_does_not_depend_on_the_processes(source: Path, tmp_path: Path) -> None:
    alone, beside = (quantize(source, tmp_path / str(n), n) for n in (0, 2))
    assert alone.files == beside.files
    assert alone.quantization["layers"] == beside.quantization["layers"]
    assert check_files(Bundle.open(tmp_path / "2")) == []


def test_a_full_disk_leaves_finished_graphs_and_the_same_command_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "home/out"
    expected = quantize(source, tmp_path / "whole")
    written = made(monkeypatch)
    with pytest.raises(OSError, match="No space"), caplog.at_level(logging.WARNING):
        quantize(source, out, cut=full_disk)
    assert written == ["thinker_step"] and not out.exists()
    assert f"rm -r {left(out.parent)}" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = quantize(source, out)
    assert written == ["thinker_step", "talker_step"]
    assert "taken over: thinker_step" in caplog.text
    assert found.files == expected.files and check_files(Bundle.open(out)) == []
    assert found.quantization["layers"] == expected.quantization["layers"]
    assert list(out.parent.iterdir()) == [out]


def test_the_command_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = tmp_path / "home/out"
    command = ("quantize", source, out, *COMMAND)
    with monkeypatch.context() as patch:
        change, count = GraphWriter.change, 0

        def fails(self: GraphWriter, *args: object) -> None:
            nonlocal count
            count += self.layers[0].graph == "talker_step"
            if count > 2:
                full_disk()
            change(self, *args)  # type: ignore[arg-type]

        patch.setattr(GraphWriter, "change", fails)
        said = refused(capsys, *command)
    assert "No space left" in said and "free space" in said
    left(out.parent)
    assert cli.main([str(word) for word in command]) == 0
    assert list(out.parent.iterdir()) == [out]


def test_a_killed_command_is_continued(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "home/out"
    expected = quantize(source, tmp_path / "whole")
    with monkeypatch.context() as patch:
        change = GraphWriter.change

        def dies(self: GraphWriter, *args: object) -> None:
            if self.layers[0].graph == "talker_step":
                os.kill(os.getpid(), signal.SIGKILL)
            change(self, *args)  # type: ignore[arg-type]

        patch.setattr(GraphWriter, "change", dies)
        command = ["quantize", str(source), str(out), *COMMAND]
        child = start(command, tmp_path / "said", None)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not out.exists()
    with caplog.at_level(logging.WARNING):
        assert quantize(source, out).files == expected.files
    assert "taken over: thinker_step" in caplog.text
    assert list(out.parent.iterdir()) == [out]


def test_an_interrupt_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for processes in (0, 2):
        with pytest.raises(KeyboardInterrupt):
            quantize(source, tmp_path / "home/out", processes, cut=interrupt)
        assert not list((tmp_path / "home").iterdir())


def test_another_recipe_sweeps_what_was_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "home/out"
    with pytest.raises(OSError, match="No space"):
        quantize(source, out, cut=full_disk)
    left(out.parent)
    written = made(monkeypatch)
    bundle, recipe = Bundle.open(source), RECIPES["orin-int4"]
    plan = plan_for(bundle, recipe)
    quantize_bundle(source, out, recipe, dict(list(plan.items())[:-1]), {}, processes=0)
    assert len(written) == 2 and list(out.parent.iterdir()) == [out]


def test_a_float_bundle_that_was_edited_meanwhile_begins_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "home/out"
    with pytest.raises(OSError, match="No space"):
        quantize(source, out, cut=full_disk)
    weights = source / "graphs/thinker_step.weights"
    content = bytearray(weights.read_bytes())
    content[5000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(OmnijetError, match="is damaged"):
        quantize(source, out)
    manifest = Manifest.read(source)  # exported anew, into the same folder
    files = {**manifest.files, "graphs/thinker_step.weights": hash_file(weights)}
    replace(manifest, files=files).write(source)
    written = made(monkeypatch)
    quantize(source, out)
    assert len(written) == 2


def test_what_was_left_is_compared_with_its_hash(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "home/out"
    expected = quantize(source, tmp_path / "whole")
    written = made(monkeypatch)
    for damage in ("weights", "json", "link"):
        with pytest.raises(OSError, match="No space"):
            quantize(source, out, cut=full_disk)
        done = left(out.parent) / DONE
        file = done / f"thinker_step.{'json' if damage == 'json' else 'weights'}"
        content = bytearray(file.read_bytes())
        file.unlink()
        if damage == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            file.symlink_to(tmp_path / "elsewhere")
        else:
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        written.clear()
        assert quantize(source, out).files == expected.files
        assert written == ["thinker_step", "talker_step"], damage
        assert not (out / "graphs/thinker_step.weights").is_symlink()
        shutil.rmtree(out)


def test_a_bundle_that_is_edited_while_it_is_read_is_refused(source: Path, tmp_path: Path) -> None:
    def edit() -> None:
        with open(source / "graphs/talker_step.weights", "r+b") as file:
            file.write(b"edited")

    with pytest.raises(OmnijetError, match="replaced while it was in use"):
        quantize(source, tmp_path / "home/out", cut=edit)
    assert not list((tmp_path / "home").iterdir())


def test_weights_that_are_damaged_are_not_rounded(source: Path, tmp_path: Path) -> None:
    with open(source / "graphs/talker_step.weights", "r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 64]))
    with pytest.raises(OmnijetError, match="graph talker_step is damaged"):
        quantize(source, tmp_path / "home/out")
    assert not list((tmp_path / "home").iterdir())


def test_damage_is_found_before_the_calibration(source: Path, tmp_path: Path) -> None:
    """And nothing that was measured on other floats, of a graph that stays float, is taken over."""
    weights = source / "graphs/audio_encoder.weights"
    whole, out = weights.read_bytes(), tmp_path / "home/out"
    with open(weights, "r+b") as file:
        file.seek(5000)
        file.write(bytes(100_000))
    words = ["quantize", str(source), str(out), "--recipe", "orin-int4", "--items", "2"]
    words += ["--max-text-tokens", "2", "--max-codes", "2"]
    assert cli.main(words) == 2
    assert not list((tmp_path / "home").iterdir())
    keys = []
    for content in (whole, bytes(len(whole))):
        weights.write_bytes(content)
        with Omni.open(source) as omni:
            keys.append(_key(omni, SimpleNamespace(digest="same"), {}, 0, Limits()))  # type: ignore[arg-type]
    assert keys[0] != keys[1]


def test_a_file_that_the_manifest_does_not_name_is_not_copied(source: Path, tmp_path: Path) -> None:
    table = source / "tables/thinker_embedding.npy"
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)
    with pytest.raises(OmnijetError, match="not the one that its manifest names") as caught:
        quantize(source, tmp_path / "home/out")
    assert "thinker_embedding" in str(caught.value.where)
    assert not list((tmp_path / "home").iterdir())


def test_somebody_elses_folder_of_that_name_stays(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "home/out"
    with pytest.raises(OSError, match="No space"):
        quantize(source, out, cut=full_disk)
    folder = left(out.parent)
    (folder / MARKER).unlink()  # it is not ours now
    shutil.rmtree(folder / DONE)
    (folder / "thesis.txt").write_text("precious")
    quantize(source, out)
    assert (folder / "thesis.txt").read_text() == "precious"
    assert sorted(path.name for path in out.parent.iterdir()) == [folder.name, "out"]
