"""A wrong graph is told from a right one, and where a decoder is wrong is told, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.reference.comparison import Comparison, compare
from omnijet.runtime.reference.gate import Machine
from omnijet.runtime.reference.reference import Reference, file_of
from tests.runtime.reference.wrong import (
    Change,
    changed,
    doubled,
    shuffled,
    swapped,
    undefined,
    weights_of,
)

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder")
ROUGH = Machine("f16", on_gpu=True)
"""Whose limits are wide: a fault that they tell, all tell."""


def compared(bundle: Bundle, graph: str, path: Path, machine: Machine = ROUGH) -> Comparison:
    backend = OrtBackend(1, optimize=False)
    loaded = backend.load(path, bundle.manifest.contracts[graph])
    try:
        return compare(loaded, Reference.of(bundle, graph), bundle.manifest.dims, machine)
    finally:
        backend.close()


@pytest.fixture(scope="module")
def bundle(trained: tuple[Path, Path]) -> Bundle:
    return Bundle.open(trained[1])


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_right_graph_is_right(bundle: Bundle, graph: str) -> None:
    exact = Machine.of(bundle.manifest, graph, on_gpu=False)
    found = compared(bundle, graph, bundle.graph(graph), exact)
    assert found.faults == [] and found.worst.distance.snr_db > 55
    top, rows = found.top
    assert top == rows and (rows > 1) == graph.endswith(("thinker_step", "talker_step"))


class Together:
    """A vision encoder that takes any number of pictures, as on a GPU.

    Args:
        mixes: whether each picture attends to the first one, as if calls had one picture.
    """

    def __init__(self, graph: Graph, mixes: bool) -> None:
        self.contract, self._graph, self._mixes = graph.contract, graph, mixes
        self.pictures: list[int] = []

    def bind(self, sizes: Mapping[str, int]) -> Any:
        bound = self._graph.bind(sizes)
        self.pictures.append(sizes["pictures"])

        def run() -> None:
            if self._mixes:
                bound.inputs["picture_rows"][:] = bound.inputs["picture_rows"][0]
            bound.run()

        return SimpleNamespace(inputs=bound.inputs, outputs=bound.outputs, run=run)

    def limit(self, symbol: str) -> int | None:
        return None


@pytest.mark.parametrize("mixes", [False, True])
def test_pictures_of_one_call_are_compared_with_single_ones(bundle: Bundle, mixes: bool) -> None:
    name = "vision_encoder"
    backend = OrtBackend(1, optimize=False)
    loaded = backend.load(bundle.graph(name), bundle.manifest.contracts[name])
    together = Together(loaded, mixes)
    exact = Machine.of(bundle.manifest, name, on_gpu=False)
    reference = Reference.of(bundle, name)
    found = compare(cast(Graph, together), reference, bundle.manifest.dims, exact)
    backend.close()
    assert together.pictures == [2]
    wrong = [one.output for one in found.outputs if one.fault is not None]
    assert wrong == (["second/features"] if mixes else [])


def test_references_are_small(bundle: Bundle) -> None:
    sizes = [bundle.manifest.files[file_of(graph)].bytes for graph in GRAPHS]
    assert sum(sizes) < 1_000_000


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("change", [shuffled, undefined])
def test_one_wrong_weight_is_told(
    bundle: Bundle, tmp_path: Path, graph: str, change: Change
) -> None:
    """One of the products or filters, of the last layers too."""
    places = weights_of(bundle.graph(graph))
    large = [name for name, (_, length) in places.items() if length >= 16_384]
    for number, name in enumerate(large[:: max(len(large) // 4, 1)]):
        path = changed(bundle.graph(graph), tmp_path / str(number), [name], change)
        faults = compared(bundle, graph, path).faults
        assert faults and faults[0].startswith(f"{graph}: "), name
        assert change is shuffled or "NaN" in faults[-1]


@pytest.mark.parametrize("graph", ["thinker_step", "talker_step"])
@pytest.mark.parametrize(("part", "layer", "said"), [
    ("qkv", 0, "layer 0: its first norm or its projections"),
    ("output", 0, "layers 0 to 1"),
    ("down", 2, "layers 2 to 3"),
    ("qkv", 3, "layers 2 to 3"),
    ("gate_up", 4, "behind the keys and values of layer 4"),
    ("head", 0, "the head" ),
])  # fmt: skip
def test_the_layers_are_told(
    bundle: Bundle, tmp_path: Path, graph: str, part: str, layer: int, said: str
) -> None:
    name = "head.weight" if part == "head" else f"decoder.layers.{layer}.{part}.weight"
    path = changed(bundle.graph(graph), tmp_path, [name], shuffled)
    (place, output) = compared(bundle, graph, path).faults
    if (graph, part) == ("talker_step", "head"):  # it returns no hidden states
        said = "behind the keys and values of layer 4: its rest, the last norm or the head"
    assert place.startswith(f"{graph}: in the prompt, ") and said in place
    assert "signal to error" in output and "cosine" in output


@pytest.mark.parametrize(
    "change", [doubled, lambda values: values * np.float32(0.7)], ids=["doubled", "0.7"]
)
def test_a_wrong_scale_is_told(bundle: Bundle, tmp_path: Path, change: Change) -> None:
    name = "decoder.layers.2.down.weight"
    path = changed(bundle.graph("thinker_step"), tmp_path, [name], change)
    assert "layers 2 to 3" in compared(bundle, "thinker_step", path).faults[0]


def test_swapped_layers_are_told(bundle: Bundle, tmp_path: Path) -> None:
    one, other = "decoder.layers.1.", "decoder.layers.2."
    path = swapped(bundle.graph("thinker_step"), tmp_path, one, other)
    assert "layers 0 to 1" in compared(bundle, "thinker_step", path).faults[0]


def edit_reference(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Writes a reference with another header."""
    arrays = dict(np.load(path))
    header = json.loads(str(arrays["header"][0]))
    change(header)
    arrays["header"] = np.array([json.dumps(header)])
    np.savez(path, **arrays)


@pytest.mark.parametrize(("change", "said"), [
    (lambda header: header.update(format="x"), "format 'x'"),
    (lambda header: header.update(inputs=["a", "b", "c", "d"]), "in/3"),
    (lambda header: header.pop("outputs"), "outputs"),
    (lambda header: header["outputs"][0].update(scale="large"), "large"),
    (lambda header: header.update(made_of=["x"]), "unpack"),
])  # fmt: skip
def test_a_foreign_file_is_refused(
    bundle: Bundle, tmp_path: Path, change: Callable[[dict[str, object]], object], said: str
) -> None:
    path = tmp_path / "vocoder.npz"
    path.write_bytes((bundle.folder / file_of("thinker_step")).read_bytes())
    edit_reference(path, change)
    with pytest.raises(OmnijetError, match="reference of the bundle cannot be used") as caught:
        Reference.read(path)
    assert said in str(caught.value.got) and "--record-reference" in (caught.value.fix or "")


def test_inputs_of_another_model_are_refused(bundle: Bundle) -> None:
    backend = OrtBackend(1, optimize=False)
    loaded = backend.load(bundle.graph("vocoder"), bundle.manifest.contracts["vocoder"])
    with pytest.raises(OmnijetError, match="not those of vocoder"):
        other = Reference.of(bundle, "audio_encoder")
        compare(loaded, other, bundle.manifest.dims, ROUGH)
    backend.close()
