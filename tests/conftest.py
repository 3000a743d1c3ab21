"""Checkpoints and bundles that many tests share, made once per run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock

if TYPE_CHECKING:
    from omnijet.engines.library import Installed
    from omnijet.runtime.bundle.contract import GraphContract, Precision
    from omnijet.runtime.omni import Omni


torch.set_num_threads(1)


def _make(
    factory: pytest.TempPathFactory,
    name: str,
    given: Path | None = None,
    precision: Precision = "f32",
) -> tuple[Path, Path]:
    """A checkpoint, given or of a preset, and its bundle."""
    # heavy imports wait until a test asks: most tests need none of this
    from omnijet.export.stages import export_bundle
    from omnijet.export.synthetic.checkpoint import write_checkpoint
    from omnijet.export.synthetic.presets import preset

    # one export serves all test processes
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    checkpoint, bundle = given or shared / f"{name}-checkpoint", shared / f"{name}-bundle"
    with FileLock(shared / f"{name}.lock"):
        if not bundle.exists():
            if given is None:
                write_checkpoint(checkpoint, preset(name), seed=1)
            export_bundle(checkpoint, bundle, precision)
    return checkpoint, bundle


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint, f32 bundle) at 3B-like dimensions."""
    return _make(tmp_path_factory, "nano")


@pytest.fixture(scope="session")
def nano_f16(nano: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An f16 bundle of the same checkpoint: what engines are built from."""
    return _make(tmp_path_factory, "nano-f16", nano[0], "f16")[1]


@pytest.fixture(scope="session")
def nano_bf16(nano: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in bf16."""
    return _make(tmp_path_factory, "nano-bf16", nano[0], "bf16")[1]


@pytest.fixture(scope="session")
def rtx() -> Installed:
    """TensorRT-RTX, which builds without a GPU; the dev extra has it where there is one of it."""
    from omnijet.engines.library import find_library
    from omnijet.engines.process import interpreter

    if platform.machine() != "x86_64":
        pytest.skip("TensorRT-RTX is for x86-64 only")
    return find_library("tensorrt_rtx", interpreter(None))


@pytest.fixture(scope="session")
def nano_7b(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint, f32 bundle) with the 7B's quirks."""
    return _make(tmp_path_factory, "nano-7b")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint, f32 bundle) of Omnijet-nano, which knows its world."""
    return _make(
        tmp_path_factory,
        "trained",
        Path(__file__).parent.parent / "omnijet" / "nano" / "checkpoint",
    )


@pytest.fixture(scope="session")
def trained_f16(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint, f16 bundle) of Omnijet-nano."""
    given = Path(__file__).parent.parent / "omnijet" / "nano" / "checkpoint"
    return _make(tmp_path_factory, "trained-f16", given, "f16")


@pytest.fixture(scope="session")
def omni(nano: tuple[Path, Path]) -> Omni:
    from omnijet.runtime.backends.ort_cpu import OrtBackend
    from omnijet.runtime.omni import Omni

    return Omni.open(nano[1], backend=OrtBackend(threads=1))


@pytest.fixture(scope="session")
def trained_bf16(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint, bf16 bundle) of Omnijet-nano."""
    checkpoint = Path(__file__).parent.parent / "omnijet" / "nano" / "checkpoint"
    return _make(tmp_path_factory, "trained-bf16", checkpoint, "bf16")


@pytest.fixture(scope="session")
def thinker_bf16(trained_bf16: tuple[Path, Path]) -> tuple[Path, GraphContract]:
    """(graph file, contract) of the trained Thinker in bf16."""
    from omnijet.runtime.bundle.manifest import Manifest

    contract = Manifest.read(trained_bf16[1]).contracts["thinker_step"]
    return trained_bf16[1] / "graphs" / "thinker_step.onnx", contract


@pytest.fixture(scope="session")
def thinker_f16(
    trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, GraphContract]:
    """(graph file, contract) of the trained Thinker in f16."""
    from omnijet.export.checkpoint.folder import Checkpoint
    from omnijet.export.modules.base import weight_sources
    from omnijet.export.modules.graph_modules import GRAPH_MODULES
    from omnijet.export.trace.tracer import trace
    from omnijet.export.weights.graph_writer import write_graph
    from omnijet.runtime.bundle.contract import graph_contracts

    checkpoint = Checkpoint.open(trained[0])
    contract = graph_contracts(checkpoint.dims, "f16")["thinker_step"]
    module = GRAPH_MODULES["thinker_step"](checkpoint.dims, "f16")
    folder = tmp_path_factory.mktemp("f16")
    model = trace(module, contract)
    write_graph(model, weight_sources(module), contract, checkpoint, folder, lambda count: None)
    return folder / "graphs" / "thinker_step.onnx", contract
