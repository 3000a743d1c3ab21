"""Checkpoints and bundles that all tests of a run share, and a check of every test's threads."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock

from tests.threads import begin_test, new_threads

if TYPE_CHECKING:
    from omnijet.engines.library import Installed
    from omnijet.runtime.bundle.contract import GraphContract, Precision
    from omnijet.runtime.omni import Omni


torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent
GRACE_S = 5.0
NANO_CHECKPOINT = ROOT / "omnijet" / "nano" / "checkpoint"


# each takes an export: half a minute of one core
BUNDLES = ("nano", "trained", "nano_7b", "nano_f16", "trained_f16", "nano_bf16", "trained_bf16")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests of several processes so that none waits for another's export.

    One test of each bundle comes first, in the first process. The others meanwhile run the files
    that need no bundle.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    needed = {item: set(BUNDLES) & set(getattr(item, "fixturenames", ())) for item in items}
    with_bundle = {item.path for item in items if needed[item]}
    first = [next((item for item in items if name in needed[item]), None) for name in BUNDLES]
    starters = dict.fromkeys(item for item in first if item is not None)
    rest = [item for item in items if item not in starters]
    items[:] = [*starters, *sorted(rest, key=lambda item: item.path in with_bundle)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fails a test that leaves a thread of omnijet behind."""
    begin_test()
    yield
    deadline = time.monotonic() + GRACE_S  # a cancelled thread ends after its current graph call
    while new_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    left = new_threads()
    assert not left, f"these threads are left: {left}; close the Omni or stream that runs them"


def _shared(factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of what all test processes of one run share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _make(
    factory: pytest.TempPathFactory,
    name: str,
    given: Path | None = None,
    precision: Precision = "f32",
    speech: bool = True,
) -> tuple[Path, Path]:
    """Returns a checkpoint, given or of a preset, and its bundle."""
    # imported here: most tests need none of these heavy modules
    from omnijet.export import stages
    from omnijet.export.synthetic.checkpoint import write_checkpoint
    from omnijet.export.synthetic.presets import preset
    from tests.traces import sharing_tracer

    if "OMNIJET_QUICK" in os.environ and name != "nano":  # set by `make quick`
        pytest.fail(f"quick tests share the export of nano: {name} has no place in tests/quick.txt")
    shared = _shared(factory)
    checkpoint, bundle = given or shared / f"{name}-checkpoint", shared / f"{name}-bundle"
    with FileLock(shared / f"{name}.lock"):
        if not bundle.exists():
            if given is None:
                write_checkpoint(checkpoint, preset(name), seed=1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(stages, "traced_graphs", sharing_tracer(shared / "traces"))
                stages.export_bundle(checkpoint, bundle, precision, speech=speech)
    return checkpoint, bundle


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps what the tests record of bundles out of the user's home."""
    folder = _shared(tmp_path_factory) / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture
def shared_traces(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lets a test's exports share their traces with those of all others."""
    from omnijet.export import stages
    from tests.traces import sharing_tracer

    tracer = sharing_tracer(_shared(tmp_path_factory) / "traces")
    monkeypatch.setattr(stages, "traced_graphs", tracer)


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns (checkpoint, f32 bundle) with the 3B's proportions."""
    return _make(tmp_path_factory, "nano")


@pytest.fixture(scope="session")
def nano_f16(nano: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an f16 bundle of the same checkpoint, for engines."""
    return _make(tmp_path_factory, "nano-f16", nano[0], "f16")[1]


@pytest.fixture(scope="session")
def nano_bf16(nano: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a bf16 bundle of the same checkpoint."""
    return _make(tmp_path_factory, "nano-bf16", nano[0], "bf16")[1]


@pytest.fixture(scope="session")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a checkpoint like that of `nano` with few layers, for an export without numbers."""
    from omnijet.export.synthetic.checkpoint import write_checkpoint
    from omnijet.export.synthetic.presets import preset

    config = preset("nano")
    thinker, speech = config["thinker_config"], config["token2wav_config"]
    for part in (thinker["text_config"], config["talker_config"]):
        part["num_hidden_layers"] = 1
    thinker["audio_config"].update(encoder_layers=1, num_hidden_layers=1)
    thinker["vision_config"].update(depth=2, fullatt_block_indexes=[1])
    speech["dit_config"].update(
        depth=2, num_hidden_layers=2, look_ahead_layers=[1], look_backward_layers=[0]
    )
    speech["bigvgan_config"].update(resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3, 5]])
    return write_checkpoint(tmp_path_factory.mktemp("shallow") / "checkpoint", config, seed=1)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel of this checkout."""
    from tests.environment import call

    folder = _shared(tmp_path_factory) / "wheel"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            built = call(
                sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT,
                cwd=folder.parent,
            )  # fmt: skip
            assert built.returncode == 0, built.stderr[-2000:]
    (path,) = folder.glob("omnijet-*.whl")
    return path


@pytest.fixture(scope="session")
def rtx() -> Installed:
    """Finds TensorRT-RTX, which builds without a GPU; the dev extra installs it on x86-64."""
    from omnijet.engines.library import find_library
    from omnijet.engines.process import interpreter

    if platform.machine() != "x86_64":
        pytest.skip("TensorRT-RTX is for x86-64 only")
    return find_library("tensorrt_rtx", interpreter(None, "tensorrt_rtx"))


@pytest.fixture(scope="session")
def nano_7b(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns (checkpoint, f32 bundle) with the 7B's quirks."""
    return _make(tmp_path_factory, "nano-7b")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns (checkpoint, f32 bundle) of Omnijet-nano, a trained model."""
    return _make(tmp_path_factory, "trained", NANO_CHECKPOINT)


@pytest.fixture(scope="session")
def voiceless(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an f32 bundle of Omnijet-nano without a voice; its traces are those of `trained`."""
    return _make(tmp_path_factory, "voiceless", NANO_CHECKPOINT, speech=False)[1]


@pytest.fixture(scope="session")
def trained_f16(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns (checkpoint, f16 bundle) of Omnijet-nano."""
    return _make(tmp_path_factory, "trained-f16", NANO_CHECKPOINT, "f16")


@pytest.fixture(scope="session")
def omni(nano: tuple[Path, Path]) -> Iterator[Omni]:
    """Opens the bundle of `nano` on one thread."""
    from omnijet.runtime.backends.ort_cpu import OrtBackend
    from omnijet.runtime.omni import Omni

    with Omni.open(nano[1], backend=OrtBackend(threads=1)) as opened:
        yield opened


@pytest.fixture(scope="session")
def trained_bf16(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns (checkpoint, bf16 bundle) of Omnijet-nano."""
    return _make(tmp_path_factory, "trained-bf16", NANO_CHECKPOINT, "bf16")


@pytest.fixture(scope="session")
def thinker_bf16(trained_bf16: tuple[Path, Path]) -> tuple[Path, GraphContract]:
    """Returns (graph file, contract) of the trained Thinker in bf16."""
    return _thinker(trained_bf16[1])


@pytest.fixture(scope="session")
def thinker_f16(trained_f16: tuple[Path, Path]) -> tuple[Path, GraphContract]:
    """Returns (graph file, contract) of the trained Thinker in f16."""
    return _thinker(trained_f16[1])


def _thinker(bundle: Path) -> tuple[Path, GraphContract]:
    from omnijet.runtime.bundle.manifest import Manifest

    contract = Manifest.read(bundle).contracts["thinker_step"]
    return bundle / "graphs" / "thinker_step.onnx", contract
