"""Tapped graphs: the pipeline's results are unchanged, and rows are the real layer inputs."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from omnijet.quantization.calibration.taps import PADDED, TappedBackend
from omnijet.quantization.graph_layers import layers_of
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import run_once
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.thinker import TextStep
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.turn import Turn

MEDIA = Path(__file__).parents[2] / "media"
GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step")
MESSAGES = [
    {"role": "user", "content": [{"type": "image", "image": str(MEDIA / "drawing.png")},
                                 {"type": "audio", "audio": str(MEDIA / "question.wav")}]},
]  # fmt: skip
QKV = "decoder.layers.0.qkv.weight"
OPTIONS = {"seed": 3, "max_text_tokens": 5, "max_codes": 14}


class Rows:
    """Keeps all rows that it receives."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], list[Array]] = defaultdict(list)

    def __call__(self, graph: str, activation: str, rows: Array) -> None:
        self.seen[graph, activation].append(rows)

    def all(self, graph: str, activation: str) -> Array:
        return np.concatenate(self.seen[graph, activation])


def every_activation(bundle: Path) -> dict[str, set[str]]:
    models = {graph: ir.load(bundle / "graphs" / f"{graph}.onnx") for graph in GRAPHS}
    return {
        graph: {layer.activation for layer in layers_of(model, graph)}
        for graph, model in models.items()
    }


def activation_of(bundle: Path, graph: str, weight: str) -> str:
    layers = layers_of(ir.load(bundle / "graphs" / f"{graph}.onnx"), graph)
    return next(layer.activation for layer in layers if layer.name == weight)


def contract_of(bundle: Path, graph: str) -> GraphContract:
    return Omni.open(bundle, backend=OrtBackend(threads=1)).bundle.manifest.contracts[graph]


@pytest.fixture(scope="module")
def bundle(nano: tuple[Path, Path]) -> Path:
    return nano[1]


def test_the_pipeline_cannot_tell(bundle: Path) -> None:
    wanted, rows = every_activation(bundle), Rows()
    before = {path: path.stat().st_mtime_ns for path in (bundle / "graphs").iterdir()}
    plain = Omni.open(bundle, backend=OrtBackend(threads=1)).generate(MESSAGES, **OPTIONS)
    tapped = Omni.open(bundle, backend=TappedBackend(wanted, rows, threads=1))
    reply = tapped.generate(MESSAGES, **OPTIONS)
    assert reply.text_ids == plain.text_ids and reply.codes == plain.codes and reply.codes
    np.testing.assert_array_equal(reply.audio, plain.audio)
    assert set(rows.seen) == {(graph, name) for graph, names in wanted.items() for name in names}
    assert {path: path.stat().st_mtime_ns for path in (bundle / "graphs").iterdir()} == before

    # prefill and each decode step
    query = rows.seen["thinker_step", activation_of(bundle, "thinker_step", QKV)]
    assert [len(part) for part in query] == [reply.prompt_tokens] + [1] * (len(reply.text_ids) - 1)
    head = activation_of(bundle, "talker_step", "head.weight")
    assert {len(part) for part in rows.seen["talker_step", head]} == {1}
    # real frames of both branches in each of 36 evaluations, and x, which both share
    qkv = activation_of(bundle, "dit_step", "blocks.0.qkv.weight")
    frames = 2 * len(reply.codes)
    assert [len(part) for part in rows.seen["dit_step", qkv]] == [2 * frames] * 36
    assert [len(part) for part in rows.seen["dit_step", "x"]] == [frames] * 36


def test_what_the_talker_is_fed_comes_from_the_thinker(bundle: Path) -> None:
    """Prompt rows are embeddings plus hidden states; later rows are codes plus reply rows."""
    rows = Rows()
    omni = Omni.open(bundle, backend=TappedBackend({"talker_step": ["embeds"]}, rows, threads=1))
    turn = Turn.of(omni.model, Options.of(**OPTIONS), Clock())
    events = list(turn.events(parse_messages(MESSAGES)))
    written = [event.reply_row for event in events if isinstance(event, TextStep)]
    assert turn.memory.rows is not None
    prompt = turn.memory.rows[: turn.prompt_ids.size]
    fed = rows.seen["talker_step", "embeds"]
    np.testing.assert_array_equal(fed[0][:-2], prompt)
    codec = omni.bundle.table("talker_embedding").astype(np.float32)
    for row, code, text in zip(fed[1:], turn.codes, written[1:-1], strict=False):
        assert text is not None
        np.testing.assert_array_equal(row[0], codec[code] + text)


def test_the_first_rows_in_numpy(bundle: Path) -> None:
    """Layer 0 reads the root-mean-square norm of the embedded prompt."""
    activation, rows = activation_of(bundle, "thinker_step", QKV), Rows()
    omni = Omni.open(bundle, backend=TappedBackend({"thinker_step": [activation]}, rows, threads=1))
    messages = [{"role": "user", "content": "How are you today?"}]
    reply = omni.generate(messages, speech=False, max_text_tokens=3)
    model = ir.load(bundle / "graphs" / "thinker_step.onnx")
    norm = next(node for node in model.graph if node.outputs[0].name == activation)
    assert norm.op_type == "RMSNormalization"
    weight = norm.inputs[1].const_value.numpy()
    prompt = omni.model.prompt(parse_messages(messages))
    ids = np.concatenate([prompt.input_ids, reply.text_ids[:-1]])
    embeds = omni.bundle.table("thinker_embedding")[ids].astype(np.float64)
    expected = embeds / np.sqrt((embeds**2).mean(axis=1, keepdims=True) + 1e-6) * weight
    np.testing.assert_allclose(rows.all("thinker_step", activation), expected, rtol=1e-4, atol=1e-6)


def by_hand(bundle: Path, graph: str, activation: str, feeds: dict[str, Array]) -> Array:
    """Returns the activation f32[all rows, inputs] from a graph that ends there."""
    # a copy: onnx loads no weights from files with hard links, and other tests link the bundle's
    with TemporaryDirectory() as folder:
        for kind in ("onnx", "weights"):
            shutil.copy(bundle / "graphs" / f"{graph}.{kind}", folder)
        model = onnx.load(Path(folder, f"{graph}.onnx"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(activation))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    value: Array = session.run([activation], feeds)[0]
    return value.reshape(-1, value.shape[-1])


def feeds_of(bundle: Path, graph: str, sizes: dict[str, int]) -> dict[str, Array]:
    """Returns random inputs; the last positions are padding if the graph has padding."""
    rng = np.random.default_rng(5)
    feeds: dict[str, Array] = {}
    for spec in contract_of(bundle, graph).inputs:
        shape = spec.shape(sizes)
        if spec.dtype == "bool":
            feeds[spec.name] = np.ones(shape, bool)
        elif spec.dtype == "i64":
            feeds[spec.name] = np.zeros(shape, np.int64)
        else:
            feeds[spec.name] = rng.standard_normal(shape).astype(np.float32)
    if graph in PADDED:
        mask = feeds[PADDED[graph]]
        mask[-1, ..., mask.shape[-1] // 3 :] = False
    return feeds


SEEN = {"cells": 32, "windows": 4, "pictures": 1, "picture_cells": 32}


@pytest.mark.parametrize(
    ("graph", "weight", "sizes", "real"),
    [
        ("audio_encoder", "layers.1.down.weight", {"chunks": 3, "tokens": 20}, 200 + 33),
        ("vision_encoder", "blocks.1.down.weight", SEEN, 128),
        ("dit_step", "blocks.2.up.weight", {"branches": 2, "blocks": 3}, 2 * (48 + 8)),
        ("dit_step", "input.weight", {"branches": 2, "blocks": 3}, 48 + 8),
    ],
)
@pytest.mark.parametrize("most", [512, 50])
def test_rows_are_the_real_inputs_of_the_layer(
    bundle: Path, graph: str, weight: str, sizes: dict[str, int], real: int, most: int
) -> None:
    activation = activation_of(bundle, graph, weight)
    feeds = feeds_of(bundle, graph, sizes)
    rows = Rows()
    backend = TappedBackend({graph: [activation]}, rows, most, threads=1)
    loaded = backend.load(bundle / "graphs" / f"{graph}.onnx", contract_of(bundle, graph))
    run_once(loaded, sizes, feeds)
    expected = by_hand(bundle, graph, activation, feeds)
    if graph in PADDED:
        mask = feeds[PADDED[graph]].reshape(-1)
        expected = expected[np.tile(mask, len(expected) // mask.size)]
    assert len(expected) == real
    step = -(-real // most)
    seen = rows.all(graph, activation)
    assert len(seen) <= most
    np.testing.assert_allclose(seen, expected[::step], rtol=1e-5, atol=1e-6)


def test_pooled_tokens_are_all_real(bundle: Path) -> None:
    sizes = {"chunks": 3, "tokens": 20}
    activation = activation_of(bundle, "audio_encoder", "projection.weight")
    rows = Rows()
    backend = TappedBackend({"audio_encoder": [activation]}, rows, threads=1)
    contract = contract_of(bundle, "audio_encoder")
    graph = backend.load(bundle / "graphs" / "audio_encoder.onnx", contract)
    run_once(graph, sizes, feeds_of(bundle, "audio_encoder", sizes))
    assert len(rows.all("audio_encoder", activation)) == 20


def test_rows_outlive_the_next_run(bundle: Path) -> None:
    rows = Rows()
    backend = TappedBackend({"dit_step": ["x"]}, rows, threads=1)
    graph = backend.load(bundle / "graphs" / "dit_step.onnx", contract_of(bundle, "dit_step"))
    bound = graph.bind({"branches": 1, "blocks": 1})
    bound.inputs["mask_self"][...] = True
    for value in (1.0, 2.0):
        bound.inputs["x"][...] = value
        bound.run()
    first, second = rows.seen["dit_step", "x"]
    del bound, graph
    assert (first == 1).all() and (second == 2).all()


def test_activations_that_are_not_finite_are_named(bundle: Path) -> None:
    activation = activation_of(bundle, "thinker_step", QKV)
    backend = TappedBackend({"thinker_step": [activation]}, Rows(), threads=1)
    contract = contract_of(bundle, "thinker_step")
    graph = backend.load(bundle / "graphs" / "thinker_step.onnx", contract)
    bound = graph.bind({"rows": 2, "picked": 1, "capacity": 8}, graph.new_state(8))
    bound.inputs["embeds"][0, 1] = np.nan
    bound.inputs["mask"][...] = True
    with pytest.raises(OmnijetError, match="not finite") as caught:
        bound.run()
    assert f"thinker_step: {activation}, read by {QKV}" in str(caught.value)


def test_an_unknown_activation(bundle: Path) -> None:
    backend = TappedBackend({"dit_step": ["x", "nothing"]}, Rows())
    with pytest.raises(OmnijetError, match="no layer that reads 1 of") as caught:
        backend.load(bundle / "graphs" / "dit_step.onnx", contract_of(bundle, "dit_step"))
    assert caught.value.got == "nothing"
