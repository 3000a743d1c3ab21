"""Built graphs run by themselves where they fit; elsewhere the canonical ones do, with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as LacksKernel

from omnijet import cli
from omnijet.runtime.backends import ort_built
from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.backends.instructions import X86, instruction_sets
from omnijet.runtime.backends.ort_built import BuiltGraphs
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_gpu import backend as gpu_module
from omnijet.runtime.backends.ort_gpu.backend import OrtDeviceBackend
from omnijet.runtime.backends.ort_gpu.providers import PROVIDERS, Provider
from omnijet.runtime.backends.protocol import Backend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply
from tests.command import Capture, refused

QUESTION = [{"role": "user", "content": "What is red and round?"}]
OPTIONS: dict[str, Any] = {"seed": 3, "max_text_tokens": 8, "max_codes": 24}


@pytest.fixture(scope="module")
def built(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with graphs for both targets."""
    bundle = Path(shutil.copytree(trained[1], tmp_path_factory.mktemp("built") / "bundle"))
    for target in ("cpu", "cuda"):
        assert cli.main(["build", str(bundle), "--target", target]) == 0
    return bundle


@pytest.fixture(scope="module")
def canonical(trained: tuple[Path, Path]) -> Reply:
    return answer(trained[1], OrtBackend(1))


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "bundle"))


def answer(bundle: Path, backend: Backend) -> Reply:
    with Omni.open(bundle, backend=backend) as omni:
        return omni.generate(QUESTION, **OPTIONS)


def is_same(ours: Reply, theirs: Reply) -> bool:
    assert theirs.codes is not None and len(theirs.codes) > 10 and len(theirs.text_ids) > 0
    return np.array_equal(ours.text_ids, theirs.text_ids) and np.array_equal(
        ours.codes, theirs.codes
    )


def altered(bundle: Path, graph: str, **fields: Any) -> None:
    """Writes another entry of a built graph; `ort` fields are told by their names."""
    manifest = Manifest.read(bundle)
    entry = manifest.engines["cpu"][graph]
    assert entry.ort is not None
    own = {name: fields.pop(name) for name in list(fields) if hasattr(entry.ort, name)}
    entry = replace(entry, **{"ort": replace(entry.ort, **own), **fields})
    engines = {**manifest.engines, "cpu": {**manifest.engines["cpu"], graph: entry}}
    replace(manifest, engines=engines).write(bundle)


def forms(bundle: Path) -> dict[str, bool]:
    return dict.fromkeys(BuiltGraphs.of(Bundle.open(bundle), "cpu").graphs, True)


def test_they_run_by_themselves(built: Path, canonical: Reply, caplog: Any) -> None:
    for provider in (None, "cpu"):
        backend = backend_for(Bundle.open(built), provider, threads=1)
        assert backend.name == "onnxruntime-cpu, built graphs"
        backend.close()
    backend = backend_for(Bundle.open(built), threads=1)
    loaded: list[Path] = []
    session = OrtBackend.session

    def noted(self: OrtBackend, path: Path, *rest: Any, **more: Any) -> Any:
        loaded.append(path)
        return session(self, path, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OrtBackend, "session", noted)
        assert is_same(answer(built, backend), canonical)
    assert {path.parent.name for path in loaded} == {"cpu"} and len(loaded) == 4
    assert not caplog.messages


def test_they_can_be_refused(built: Path) -> None:
    """As what checks and measures a bundle does."""
    bundle = Bundle.open(built)
    for backend in (backend_for(bundle, built=False), OrtBackend(1)):
        assert backend.name == "onnxruntime-cpu"
        backend.close()


def test_those_for_cuda_are_equal_on_the_processor(built: Path, canonical: Reply) -> None:
    backend = OrtBackend(1, built=BuiltGraphs.of(Bundle.open(built), "cuda"))
    assert is_same(answer(built, backend), canonical)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the CPU in the place of a device."""
    here = {**PROVIDERS, "cuda": Provider("CPUExecutionProvider", "the CPU")}
    monkeypatch.setattr(gpu_module, "PROVIDERS", here)
    yield


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_gpu_takes_those_for_cuda(device: None, built: Path, canonical: Reply) -> None:
    bundle = Bundle.open(built)
    asked = backend_for(bundle, "cuda")
    assert asked.name == "onnxruntime-cuda, built graphs"
    asked.close()
    graphs = BuiltGraphs.of(bundle, "cuda")
    backend = OrtDeviceBackend("cuda", 1, device="cpu", built=graphs)
    assert is_same(answer(built, backend), canonical)


def test_a_graph_that_does_not_fit_is_left(copied: Path, canonical: Reply, caplog: Any) -> None:
    with open(copied / "engines/cpu/talker_step.weights", "ab") as file:
        file.write(b"x")
    altered(copied, "vocoder", version="1.31.0")
    backend = backend_for(Bundle.open(copied), threads=1)
    assert backend.name == "onnxruntime-cpu, 4 of 6 graphs built"
    (line,) = caplog.messages
    assert "talker_step.weights: " in line and "made by ONNX Runtime 1.31.0" in line
    assert f"omnijet build {copied} --target cpu" in line
    assert is_same(answer(copied, backend), canonical)


@pytest.mark.parametrize(
    ("here", "fits"), [("1.31.9", False), (onnxruntime.__version__, True), ("1.33.0", True)]
)
def test_an_older_onnxruntime_takes_none(
    built: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, here: str, fits: bool
) -> None:
    """A newer one takes all but what an optimizer of its own saved."""
    version = onnxruntime.__version__
    monkeypatch.setattr(ort_built.onnxruntime, "__version__", here)
    found = forms(built)
    assert ("thinker_step" in found) == fits and ("vocoder" in found) == (here == version)
    assert bool(caplog.messages) == (here != version)


def test_another_processor_leaves_what_was_optimized(
    built: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(ort_built, "instruction_sets", lambda: ("aarch64", "asimd"))
    assert "vocoder" not in forms(built) and "thinker_step" in forms(built)
    assert "another processor" in caplog.messages[0]


def test_an_operator_that_is_missing(
    built: Path, canonical: Reply, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The canonical graph runs, and the log says why."""
    real = onnxruntime.InferenceSession

    def lacking(model: Any, *rest: Any, **more: Any) -> Any:
        if "engines/cpu/thinker_step" in str(model):
            raise LacksKernel("Could not find an implementation for FusedMatMul(1)")
        return real(model, *rest, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", lacking)
    backend = backend_for(Bundle.open(built), threads=1)
    assert is_same(answer(built, backend), canonical)
    assert "FusedMatMul" in caplog.text and "--target cpu" in caplog.text


def test_memory_that_runs_out_is_no_reason_for_another_graph(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    bundle = Bundle.open(built)
    backend = backend_for(bundle, threads=1)
    contract = bundle.manifest.contracts["vocoder"]
    with pytest.raises(OmnijetError, match="memory ran out"):
        backend.load(bundle.graph("vocoder"), contract)
    backend.close()


def test_a_stranger_s_graph_is_refused(copied: Path) -> None:
    """It is no matter of taking another: somebody put it there."""
    path = copied / "engines/cpu/vocoder.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.node.append(onnx.helper.make_node("RandomUniformLike", ["x"], ["y"]))
    onnx.save(model, path)
    manifest = Manifest.read(copied)
    files = {**manifest.files, "engines/cpu/vocoder.onnx": hash_file(path)}
    entry = manifest.engines["cpu"]["vocoder"]
    entry = replace(entry, bytes=sum(files[name].bytes for name in entry.files))
    engines = {**manifest.engines, "cpu": {**manifest.engines["cpu"], "vocoder": entry}}
    replace(manifest, files=files, engines=engines).write(copied)
    bundle = Bundle.open(copied)
    backend = backend_for(bundle, threads=1)
    with pytest.raises(OmnijetError, match="none that omnijet writes"):
        backend.load(bundle.graph("vocoder"), bundle.manifest.contracts["vocoder"])
    backend.close()


STRANGE: dict[str, dict[str, Any]] = {
    "weights elsewhere": {"weights": "graphs/vocoder.weights"},
    "the weights of another": {"weights": "engines/cpu/dit_step.weights"},
    "a graph elsewhere": {"file": "graphs/vocoder.onnx"},
    "no form": {"ort": None},
    "an engine's library": {"library": "tensorrt_rtx"},
    "sizes": {"profiles": ({"frames": (1, 2, 3)},)},
    "a GPU": {"compute_capability": 89},
    "another size": {"bytes": 5},
}


@pytest.mark.parametrize("fields", STRANGE.values(), ids=STRANGE)
def test_entries_that_say_anything_else_are_refused(copied: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(OmnijetError, match="damaged, or another version"):
        altered(copied, "vocoder", **fields)


def test_engines_of_this_name_are_run_by_a_provider(built: Path, capsys: Capture) -> None:
    said = refused(capsys, "run", built, "--engines", "cpu", "--text", "Hello")
    assert "graphs for ONNX Runtime, and no engines" in said and "--provider cpu" in said


def test_a_bundle_without_its_own_graphs(copied: Path, canonical: Reply) -> None:
    """A device may have no room for both."""
    shutil.rmtree(copied / "graphs")
    assert is_same(answer(copied, backend_for(Bundle.open(copied), threads=1)), canonical)


def test_a_graph_that_is_replaced_meanwhile_is_noticed(copied: Path) -> None:
    bundle = Bundle.open(copied)
    backend = backend_for(bundle, threads=1)
    path = copied / "engines/cpu/vocoder.weights"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(OmnijetError, match="replaced while it was in use"):
        backend.load(bundle.graph("vocoder"), bundle.manifest.contracts["vocoder"])
    backend.close()


def test_caches_in_another_precision(nano_f16: Path, tmp_path: Path) -> None:
    """A bundle in f16 has caches in f32 on the processor; states grow and are copied in it."""
    bundle = Path(shutil.copytree(nano_f16, tmp_path / "bundle"))
    assert cli.main(["build", str(bundle), "--target", "cpu", "--graphs", "thinker_step"]) == 0
    opened = Bundle.open(bundle)
    backend = backend_for(opened, threads=1)
    graph = backend.load(opened.graph("thinker_step"), opened.manifest.contracts["thinker_step"])
    wanted = opened.manifest.contracts_in("f32")["thinker_step"]
    assert graph.contract == wanted != opened.manifest.contracts["thinker_step"]
    state: Any = graph.new_state(4)
    assert {array.dtype for array in state.arrays.values()} == {np.dtype(np.float32)}
    state.arrays[wanted.state[0].input][:] = 0.1  # no number of f16
    state.grow(8, 4)
    twin: Any = state.copy(4)
    kept = twin.arrays[wanted.state[0].input]
    assert kept.shape[2] == 8 and (kept[:, :, :4] == np.float32(0.1)).all()
    backend.close()
    with Omni.open(bundle, backend=backend_for(opened, threads=1)) as ours:
        said = ours.generate(QUESTION, speech=False, greedy=True, max_text_tokens=6)
    with Omni.open(bundle, backend=OrtBackend(1)) as theirs:
        plain = theirs.generate(QUESTION, speech=False, greedy=True, max_text_tokens=6)
    assert len(said.text_ids) > 0 and said.text_ids[:1] == plain.text_ids[:1]


def test_instruction_sets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("flags\t: fpu avx2 sse2 avx512f\nprocessor : 1\nflags : amx_int8\n")
    assert instruction_sets(path)[1:] == ("avx2", "avx512f")
    path.write_text("Features\t: fp asimd asimddp i8mm crc32\n")
    assert instruction_sets(path)[1:] == ("asimd", "asimddp", "i8mm")
    assert len(instruction_sets(tmp_path / "none")) == 1
    assert set(instruction_sets()[1:]) <= X86 or "x86" not in instruction_sets()[0]


def test_a_bundle_in_bf16(nano_bf16: Path, tmp_path: Path) -> None:
    """The processor has no kernels for bf16: it runs a bundle all of whose graphs are built."""
    bundle = Path(shutil.copytree(nano_bf16, tmp_path / "bundle"))
    for graphs, runs in ((("thinker_step",), False), ((), True)):
        command = ["build", str(bundle), "--target", "cpu"]
        assert cli.main([*command, *(("--graphs", *graphs) if graphs else ())]) == 0
        backend = backend_for(Bundle.open(bundle), threads=1)
        assert ("bf16" in backend.precisions) == runs
        if runs:
            assert len(answer(bundle, backend).text_ids) > 0
            continue
        with pytest.raises(OmnijetError, match="no kernels for graphs in bf16"):
            Omni.open(bundle, backend=backend)
        backend.close()
