"""A vocoder in blocked signals computes the same wave as the canonical one."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused import blocks, parallel_filters, vocoder
from omnijet.engines.lowering.fused.blocked_graph import BlockedGraph
from omnijet.engines.lowering.fused.blocks import Signal
from omnijet.engines.lowering.fused.parallel_filters import Parallel
from omnijet.engines.lowering.fused.parts import in_parts
from omnijet.export.graphfile.weight_pages import WeightPages
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest

BLOCK = blocks.block_size()
pytestmark = pytest.mark.skipif(not BLOCK, reason="ONNX Runtime has no blocked kernels here")

BOUND = 1e-5
"""Of the wave's RMS; measured: 2e-6. Both differ more from the reference (`test_vocoder`)."""


def test_a_machine_with_blocks_of_another_size_gets_no_wave(tmp_path: Path) -> None:
    x, weight = np.ones((32, 9), np.float32), np.ones((32, 32, 1, 3), np.float32)
    none = np.zeros(32, np.float32)
    fits = {n: np.isfinite(convolved(tmp_path, "plain", x, weight, none, 1, n)) for n in (8, 16)}
    assert [size for size, finite in fits.items() if finite.all()] == [BLOCK]


@pytest.mark.parametrize(
    ("found", "size"),
    [
        (("x86_64", "avx2", "avx512f"), 16), (("amd64", "avx2"), 8), (("x86_64",), 0),
        (("aarch64", "asimd"), 0),
    ],
)  # fmt: skip
def test_the_size_follows_from_the_processor(found: tuple[str, ...], size: int) -> None:
    with patch.object(blocks, "instruction_sets", return_value=found):
        assert blocks.block_size() == size


def lowered(bundle: Path, target: Path, block: int) -> GraphEntry:
    lower = Lowering(
        lambda constants, contract: (vocoder.BlockedVocoder(constants, block),),
        domains=("com.microsoft", blocks.DOMAIN),
    )
    contract = Manifest.read(bundle).contracts["vocoder"]
    return lower(bundle / "graphs" / "vocoder.onnx", contract, target, 7, lambda count: None)


def wave(path: Path, frames: int) -> Array:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mel = -4 + 2.4 * np.random.default_rng(frames).standard_normal((1, 80, frames))
    made: Array = session.run(None, {"mel": mel.astype(np.float32)})[0]
    return made


@pytest.fixture(scope="module")
def graph(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained vocoder, also its narrow convolutions as parallel filters or in parts."""
    folder = tmp_path_factory.mktemp("blocked")
    with patch.object(parallel_filters, "LEAST_CHANNELS", 8):
        entry = lowered(trained[1], folder, BLOCK)
    counts = ir.load(trained[1] / "graphs" / "vocoder.onnx").graph
    sines = sum(node.op_type == "Sin" for node in counts)
    assert entry.ops["Sin"] == 2 * sines  # every activation is blocked
    assert entry.ops["ReorderOutput"] <= 1 + entry.ops["ConvTranspose"]  # and nothing between them
    assert entry.ops["Sub"] > 50  # parallel filters
    return folder / "vocoder.onnx"


@pytest.mark.parametrize("frames", [1, 2, 3, 31])
def test_the_wave_is_the_canonical_one(
    trained: tuple[Path, Path], graph: Path, frames: int
) -> None:
    wanted, got = wave(trained[1] / "graphs" / "vocoder.onnx", frames), wave(graph, frames)
    assert got.shape == wanted.shape and wanted.std() > 1e-3
    assert np.sqrt(np.mean((got - wanted) ** 2)) <= BOUND * wanted.std()


def test_without_blocked_kernels_it_stays_canonical(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    entry = lowered(trained[1], tmp_path, 0)
    assert entry.ops == Manifest.read(trained[1]).graphs["vocoder"].ops


@pytest.mark.parametrize("form", ["plain", "parts", "parallel"])
@pytest.mark.parametrize(
    ("taps", "dilation", "samples"), [(7, 1, 64), (11, 5, 37), (7, 3, 1), (11, 1, 2), (3, 5, 130)]
)
def test_every_form_is_the_same_convolution(
    tmp_path: Path, form: str, taps: int, dilation: int, samples: int
) -> None:
    rng = np.random.default_rng(taps + samples)
    channels, outputs = 12, 20
    x = rng.standard_normal((channels, samples)).astype(np.float32)
    weight = rng.standard_normal((outputs, channels, 1, taps)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    got = convolved(tmp_path, form, x, weight, bias, dilation)
    wanted = np.zeros((outputs, samples))
    side = dilation * (taps - 1) // 2
    wide = np.pad(x.astype(np.float64), ((0, 0), (side, side)))
    for tap in range(taps):
        wanted += weight[:, :, 0, tap].astype(np.float64) @ wide[:, tap * dilation :][:, :samples]
    wanted += bias[:, None]
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 3e-6 * np.abs(wanted).max()


def convolved(
    folder: Path,
    form: str,
    x: Array,
    weight: Array,
    bias: Array,
    dilation: int,
    block: int = BLOCK,
) -> Array:
    """Runs a graph of one convolution, blocked between its input and its output."""
    given = ir.Value(
        name="x", shape=ir.Shape([1, len(x), 1, x.shape[1]]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    end = ir.node("Identity", [given], name="end")
    graph = ir.Graph([given], end.outputs, nodes=[end], name="one", opset_imports={"": 24})
    end.outputs[0].name, end.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    end.outputs[0].shape = ir.Shape([1, len(weight), 1, x.shape[1]])
    with WeightPages(folder, "one.weights") as pages:
        new = BlockedGraph(graph, Constants(graph, pages), block)
        new.before = end
        signal = new.blocked(given, len(x))
        assert signal is not None
        made: Signal
        match form:
            case "plain":
                made = new.convolution(signal, weight, bias, dilation)
            case "parts":
                made = in_parts(new, signal, weight, bias, dilation, 4)
            case _:
                made = Parallel(new)(signal, weight, bias, dilation)
        plain = new.node(
            "ReorderOutput", [made.value], 1, blocks.DOMAIN, channels=made.channels, channels_last=0
        )
        end.replace_input_with(0, plain[0])
        new.guard(graph.outputs[0])
        graph.opset_imports[blocks.DOMAIN] = blocks.VERSION
    ir.save(ir.Model(graph, ir_version=11), folder / "one.onnx")
    session = onnxruntime.InferenceSession(
        str(folder / "one.onnx"), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {"x": x[None, :, None]})[0]
    return result[0, :, 0]
