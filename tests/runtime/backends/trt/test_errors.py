"""Everything that can be wrong with engines is reported with the way out, and the bundle stays as
it was.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.runtime.backends.trt import jit
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.root import VARIABLE
from omnijet.runtime.omni import Omni
from tests.command import Capture, answer, refused
from tests.machines import fake_machine
from tests.manifests import write_sealed
from tests.runtime.backends.trt.engines import Machine, machine, with_engines
from tests.runtime.backends.trt.library import IRuntimeCache


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "bundle"))


def refusal(bundle: Path, name: str = "vocoder") -> OmnijetError:
    files = [path for path in bundle.rglob("*") if path.is_file()]
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in files}
    with pytest.raises(OmnijetError) as caught:
        Omni.open(bundle, engines="orin-nx").model.graph(name)
    for path, digest in before.items():
        assert hashlib.sha256(path.read_bytes()).digest() == digest
    return caught.value


def edited(bundle: Path, **changes: object) -> None:
    """Changes the manifest's entries of all engines."""
    data = json.loads((bundle / FILE_NAME).read_text())
    for entry in data["engines"]["orin-nx"].values():
        entry.update(changes)
    write_sealed(bundle, data)


def rehash(bundle: Path, engine: Path) -> None:
    """Makes the manifest say that the engine is as written."""
    data = json.loads((bundle / FILE_NAME).read_text())
    digest = hashlib.sha256(engine.read_bytes()).hexdigest()
    data["files"][engine.relative_to(bundle).as_posix()]["sha256"] = digest
    write_sealed(bundle, data)


@pytest.mark.parametrize(
    ("here", "fix"),
    [("orin-nx-jp72", "nvidia-jetpack"), ("pc", "TensorRT 10.16.2 with its Python bindings")],
)
def test_no_library(
    built: Path, here: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(fake_machine(tmp_path, here)))
    with machine("tensorrt_rtx"):
        error = refusal(built)
    assert "TensorRT is not here" in error.what and "10.16.2" in str(error.expected)
    assert fix in (error.fix or "")


def test_no_cuda_runtime(built: Path, orin: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda.cudart", None)
    assert 'pip install "omnijet[gpu]"' in (refusal(built).fix or "")


def test_no_gpu(built: Path) -> None:
    with machine(count=0):
        error = refusal(built)
    assert error.what == "there is no GPU to run engines on"
    assert "cudaErrorInsufficientDriver" in str(error.got)


def test_another_gpu(built: Path) -> None:
    with machine(capability=110):
        error = refusal(built)
    assert "SM110" in str(error.expected) and str(error.got).count("SM87") == 6
    assert f"omnijet build {built} --target auto" in (error.fix or "")


def test_another_version(bundle: Path, orin: Machine) -> None:
    edited(bundle, version="10.3.0")
    error = refusal(bundle)
    assert "10.16.2" in str(error.expected) and "TensorRT 10.3.0" in str(error.got)
    assert f"omnijet build {bundle} --target orin-nx" in (error.fix or "")


def test_no_engines_of_a_target(built: Path, orin: Machine, capsys: Capture) -> None:
    text = refused(capsys, "run", built, "--text", "Hello", "--engines", "thor")
    assert "no engines for thor" in text and "one of: orin-nx" in text
    assert f"omnijet build {built} --target auto" in text and "--target thor" not in text


def test_engines_that_were_left_behind(bundle: Path, orin: Machine, capsys: Capture) -> None:
    """The bundle is complete without its engines; asking for them is an error, and `check` reports
    it.
    """
    home = bundle / "engines/orin-nx"
    path = home / "vocoder.engine"
    path.write_bytes(path.read_bytes()[:-1])
    (home / "dit_step.engine").unlink()
    error = refusal(bundle)
    assert error.what == "2 of 6 engines for orin-nx differ from the manifest"
    assert "dit_step.engine: missing" in str(error.got)
    assert "vocoder.engine: " in str(error.got) and not orin.gpu.calls
    assert error.fix == f"omnijet build {bundle} --target orin-nx"
    assert cli.main(["check", str(bundle)]) == 2
    shown = capsys.readouterr().out
    assert "FAILED engines/orin-nx/dit_step.engine: missing" in shown
    assert f"omnijet build {bundle} --target orin-nx" in shown and "FAILED graphs" not in shown
    shutil.rmtree(bundle / "engines")
    assert cli.main(["inspect", str(bundle)]) == 0
    capsys.readouterr()
    assert answer(capsys, bundle, "--text", "Hello")["text"]


@pytest.mark.parametrize("same_hash", [False, True])
def test_a_damaged_engine(bundle: Path, orin: Machine, same_hash: bool) -> None:
    """Damage shows in the hash; otherwise the library itself cannot read the file."""
    path = bundle / "engines/orin-nx/vocoder.engine"
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
    if same_hash:
        rehash(bundle, path)
    error = refusal(bundle)
    assert "engine of vocoder cannot be loaded" in error.what
    assert ("magic tag" if same_hash else "sha256") in str(error.got)
    assert "omnijet build" in (error.fix or "")


def test_the_library_keeps_the_first_logger_it_is_given(bundle: Path, orin: Machine) -> None:
    """Errors of later engines arrive there, when the first engine may be gone."""
    omni = Omni.open(bundle, engines="orin-nx")
    omni.model.graph("dit_step")
    del omni
    gc.collect()
    omni = Omni.open(bundle, engines="orin-nx")
    vocoder = omni.model.graph("vocoder")
    assert vocoder._graph._engine.last_error() == "nothing was said"
    path = bundle / "engines/orin-nx/dit_step.engine"
    path.write_bytes(b"x" * path.stat().st_size)
    rehash(bundle, path)
    assert "magic tag" in str(refusal(bundle, "dit_step").got)


def test_an_engine_of_another_boundary(bundle: Path, orin: Machine) -> None:
    home = bundle / "engines/orin-nx"
    data = json.loads((bundle / FILE_NAME).read_text())
    files = data["files"]
    shutil.copy(home / "dit_step.engine", home / "vocoder.engine")
    files["engines/orin-nx/vocoder.engine"] = files["engines/orin-nx/dit_step.engine"]
    engines = data["engines"]["orin-nx"]
    engines["vocoder"]["bytes"] = engines["dit_step"]["bytes"]
    write_sealed(bundle, data)
    error = refusal(bundle)
    assert "does not keep its contract" in error.what and "omnijet build" in (error.fix or "")
    assert "input mel: expected f32[1, 80, frames], got nothing" in str(error.got)


def test_other_profiles_than_the_manifest_says(bundle: Path, orin: Machine) -> None:
    data = json.loads((bundle / FILE_NAME).read_text())
    data["engines"]["orin-nx"]["vocoder"]["profiles"][0]["frames"] = [1, 100, 301]
    write_sealed(bundle, data)
    assert "other profiles" in refusal(bundle).what


def test_too_little_memory(built: Path) -> None:
    with machine(budget=1 << 16):
        omni = Omni.open(built, engines="orin-nx")
        with pytest.raises(OmnijetError, match="memory ran out") as caught:
            omni.model.graph("thinker_step").new_state(8)
    assert caught.value.got == "cudaErrorMemoryAllocation" and caught.value.fix


def test_engines_and_a_provider(built: Path) -> None:
    with pytest.raises(OmnijetError, match="two ways"):
        Omni.open(built, engines="orin-nx", provider="cuda")


@pytest.mark.parametrize("kept", [b"", b"something else", IRuntimeCache.kernels])
def test_compiled_kernels_are_kept_beside_no_bundle(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bytes
) -> None:
    """The file is replaced, whatever it held."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = with_engines(trained[1], tmp_path / "bundle", library="tensorrt_rtx")
    path = jit.cache_folder() / f"{'k' * 8}vocoder-87.bin"
    if kept:
        path.parent.mkdir(parents=True)
        path.write_bytes(kept)
    with machine("tensorrt_rtx"):
        graph = Omni.open(bundle, engines="orin-nx").model.graph("vocoder")
        graph.bind({"frames": 4}).run()
        assert path.read_bytes() == IRuntimeCache.kernels, "now: the end may never come"
        del graph
        gc.collect()
    assert path.read_bytes() == IRuntimeCache.kernels
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_compiled_kernels_go_through_no_link(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = with_engines(trained[1], tmp_path / "bundle", library="tensorrt_rtx")
    path, own = jit.cache_folder() / f"{'k' * 8}vocoder-87.bin", tmp_path / "photo"
    own.write_bytes(b"a user's")
    path.parent.mkdir(parents=True)
    for planted in (path, path.with_suffix(f".{os.getpid()}.part")):
        planted.symlink_to(own)
    with machine("tensorrt_rtx"):
        graph = Omni.open(bundle, engines="orin-nx").model.graph("vocoder")
        graph.bind({"frames": 4}).run()
        del graph
        gc.collect()
    assert own.read_bytes() == b"a user's"
    assert path.read_bytes() == IRuntimeCache.kernels and not path.is_symlink()


@pytest.mark.parametrize("made", [None, RuntimeError("no CUDA context in this thread")])
def test_kernels_that_cannot_be_kept(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    made: Exception | None,
) -> None:  # fmt: skip
    """Kernels are compiled again; the graph runs, and nothing is reported at the end."""

    def serialize(cache: IRuntimeCache) -> None:
        if made is not None:
            raise made

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(IRuntimeCache, "serialize", serialize)
    bundle = with_engines(trained[1], tmp_path / "bundle", library="tensorrt_rtx")
    with machine("tensorrt_rtx"):
        graph = Omni.open(bundle, engines="orin-nx").model.graph("vocoder")
        bound = graph.bind({"frames": 4})
        bound.run()
        assert bound.outputs["wave"].std() > 0
        jit = graph._graph._engine._jit  # type: ignore[attr-defined]
        jit.keep()
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_engines_of_another_bundle_are_not_loaded(
    built: Path, tmp_path: Path, orin: Machine
) -> None:
    """The bundle is swapped between two engines that a model loads."""
    folder = Path(shutil.copytree(built, tmp_path / "bundle"))
    with Omni.open(folder, engines="orin-nx") as omni:
        options = {"speech": False, "seed": 1, "max_text_tokens": 3}
        first = omni.generate([{"role": "user", "content": "Hi"}], **options)
        folder.rename(tmp_path / "away")
        shutil.copytree(tmp_path / "away", folder)
        again = omni.generate([{"role": "user", "content": "Hi"}], **options)
        assert again.text_ids == first.text_ids
        with pytest.raises(OmnijetError, match="replaced while it was in use"):
            omni.generate([{"role": "user", "content": "Hi"}], seed=1)
