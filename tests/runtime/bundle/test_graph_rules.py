"""What of a graph file is let in, and what never reaches a library."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from omnijet.export.graphfile.loading import graph_bytes, load_graph
from omnijet.runtime.backends.ort_cpu import OrtBackend, declared
from omnijet.runtime.bundle import graph_rules
from omnijet.runtime.bundle.graph_rules import rebuilding, require_own_graph
from omnijet.runtime.bundle.operators import STANDARD
from omnijet.runtime.bundle.protobuf import BadMessage, fields
from omnijet.runtime.errors import OmnijetError
from tests.runtime.bundle.small_graph import Harm, add_node, body, inline, place, write_small


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["i"], ["o"])
    opsets = [helper.make_opsetid("", 24)]
    model.functions.append(helper.make_function("own", "Gelu", ["i"], ["o"], [node], opsets))


def _sparse(model: onnx.ModelProto) -> None:
    values = inline(np.ones(1, np.float32), "s")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, inline(np.zeros(1, np.int64), "at"), [4])
    )


def _sequence(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [4])
    )


def _duplicate(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _nested(model: onnx.ModelProto) -> None:
    inner = body()
    inner.node.append(helper.make_node("Scan", ["i"], ["p"], "inner", body=body()))
    add_node(model, "Scan", body=inner, num_scan_inputs=1)


def _branch_in_scan(model: onnx.ModelProto) -> None:
    inner = body()
    inner.node.append(helper.make_node("If", ["i"], ["p"], "inner", then_branch=body()))
    add_node(model, "Scan", body=inner, num_scan_inputs=1)


def _external_constant(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto()
    tensor.CopyFrom(model.graph.initializer[0])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], "c", value=tensor))


def _short(model: onnx.ModelProto) -> None:
    tensor = inline(np.ones(4, np.float32), "short")
    tensor.dims[0] = 1 << 30
    model.graph.initializer.append(tensor)


def _many_axes(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(inline(np.ones((1,) * 9, np.float32), "deep"))


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-16, -16]


def _typed_values(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.TensorProto(name="t", dims=[1], data_type=8))
    model.graph.initializer[-1].string_data.append(b"text")


HARMS: dict[str, tuple[Harm, str]] = {
    "absolute place": (lambda m: place(m, location="/etc/passwd"), "in '/etc/passwd'"),
    "place above": (lambda m: place(m, location="../small.weights"), "in '../small.weights'"),
    "other spelling": (lambda m: place(m, location="./small.weights"), "in './small.weights'"),
    "other file": (lambda m: place(m, location="small.onnx"), "in 'small.onnx'"),
    "behind the end": (lambda m: place(m, 1, offset="8190"), "ends at byte 8254 of 8192"),
    "a negative offset": (lambda m: place(m, offset="-4096"), "outside the file"),
    "a huge offset": (lambda m: place(m, offset="9" * 30), "outside the file"),
    "another length": (lambda m: place(m, length="4"), "4 bytes, not 1024"),
    "an unknown key": (lambda m: place(m, checksum="0"), "outside the file"),
    "shared bytes": (lambda m: place(m, 1, offset="64"), "shares bytes"),
    "a place in a node": (_external_constant, "outside the file"),
    "Loop": (lambda m: add_node(m, "Loop", body=body()), "node added: a graph within it"),
    "If": (lambda m: add_node(m, "If", then_branch=body()), "operator If"),
    "a third branch": (lambda m: add_node(m, "If", body=body()), "node added: a graph within it"),
    "If in Scan": (_branch_in_scan, "a graph within it"),
    "a graph in any node": (lambda m: add_node(m, "Gelu", body=body()), "a graph within it"),
    "Scan in Scan": (_nested, "a graph within it"),
    "strange body": (lambda m: add_node(m, "Scan", body=body()), "operator Identity in a loop"),
    "an operator": (lambda m: add_node(m, "RandomUniformLike"), "operator RandomUniformLike"),
    "a domain": (lambda m: add_node(m, "Add", "evil"), "operator evil.Add"),
    "a domain's opset": (lambda m: m.opset_import.add(domain="evil"), "domain 'evil'"),
    "a function": (_function, "field 25"),
    "training": (lambda m: m.training_info.add(), "field 20"),
    "a sparse weight": (_sparse, "field 15"),
    "a sequence": (_sequence, "a type: field 4"),
    "one name twice": (_duplicate, "2 weights of one name"),
    "too few bytes": (_short, "16 bytes, not 4294967296"),
    "nine axes": (_many_axes, "shape"),
    "a negative size": (_negative, "shape [-16, -16]"),
    "text": (_typed_values, "field 6"),
}


def test_a_graph_like_ours_is_let_in(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    require_own_graph(path, "small", STANDARD)
    OrtBackend(threads=1).session(path, "small")
    assert sorted(load_graph(path).graph.initializers) == ["a", "b"]


@pytest.mark.parametrize(("harm", "said"), HARMS.values(), ids=list(HARMS))
def test_what_ours_never_hold_is_refused(tmp_path: Path, harm: Harm, said: str) -> None:
    path = write_small(tmp_path, harm)
    with pytest.raises(OmnijetError) as caught:
        require_own_graph(path, "small")
    assert said in str(caught.value.got), caught.value
    assert caught.value.fix


@pytest.mark.parametrize(
    "reader",
    [
        lambda path: OrtBackend(threads=1).session(path, "small"),
        lambda path: OrtBackend(threads=1).session(path, "small", path.read_bytes()),
        lambda path: declared(path, "small"),
        load_graph,
    ],
    ids=["run", "calibrate", "check", "build and quantize"],
)
def test_every_reader_refuses(tmp_path: Path, reader: object) -> None:
    path = write_small(tmp_path, lambda model: place(model, location="../out.weights"))
    (tmp_path.parent / "out.weights").write_bytes(bytes(8192))
    with pytest.raises(OmnijetError, match="none that omnijet writes"):
        reader(path)  # type: ignore[operator]


@pytest.mark.parametrize("suffix", [".onnx", ".weights"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_small(tmp_path / "graphs")
    linked, other = path.with_suffix(suffix), tmp_path / f"other{suffix}"
    linked.rename(other)
    linked.symlink_to(other)
    with pytest.raises(OmnijetError) as caught:
        require_own_graph(path, "small")
    assert f"a link to {other.resolve()}" in str(caught.value.got)


def test_links_into_a_cache_of_the_hub_are_read(tmp_path: Path) -> None:
    path = write_small(tmp_path / "snapshots" / "1" / "graphs")
    (tmp_path / "blobs").mkdir()
    for index, one in enumerate(sorted(path.parent.iterdir())):
        blob = tmp_path / "blobs" / f"{index:064}"
        one.rename(blob)
        one.symlink_to(Path("../../../blobs") / blob.name)
    _reads_all(path)


def test_hard_links_are_read(tmp_path: Path) -> None:
    path = write_small(tmp_path / "graphs")
    for one in list(path.parent.iterdir()):
        os.link(one, tmp_path / one.name)
    _reads_all(path)


def _reads_all(path: Path) -> None:
    model = load_graph(path)
    for value in model.graph.initializers.values():
        assert value.const_value is not None and not value.const_value.numpy().any()
    backend = OrtBackend(threads=1)
    backend.session(path, "small")
    backend.session(path, "small", graph_bytes(model))


@pytest.mark.parametrize("size", [0, 1, 40, 200])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, size: int) -> None:
    path = write_small(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(OmnijetError):
        require_own_graph(path, "small")


def test_every_flipped_byte_is_read_or_refused(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    content = path.read_bytes()
    for place_of in range(len(content)):
        for bit in (1, 0x80):
            flipped = bytearray(content)
            flipped[place_of] ^= bit
            path.write_bytes(flipped)
            with suppress(OmnijetError):
                require_own_graph(path, "small")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    os.truncate(path, graph_rules.MOST_BYTES + 1)
    with pytest.raises(OmnijetError, match="more than"):
        require_own_graph(path, "small")


def test_no_count_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnijet.runtime.bundle.graph_file.MOST_NODES", 100)

    def harm(model: onnx.ModelProto) -> None:
        model.graph.node.extend([onnx.NodeProto(op_type="Add")] * 200)

    with pytest.raises(OmnijetError, match="more than 100 nodes"):
        require_own_graph(write_small(tmp_path, harm), "small")


def test_a_number_without_end_is_no_message() -> None:
    start = time.monotonic()
    with pytest.raises(BadMessage, match="has no end"):
        list(fields(b"\x80" * 1_000_000, 0, 1_000_000))
    assert time.monotonic() - start < 1


def test_what_was_built_is_built_again(tmp_path: Path) -> None:
    """What was exported is exported again: the place of a file tells which it is."""
    built = tmp_path / "my-bundle" / "engines" / "cpu" / "dit_step.onnx"
    exported = tmp_path / "my-bundle" / "graphs" / "dit_step.onnx"
    command = f"omnijet build {tmp_path / 'my-bundle'} --target cpu"
    for path, fix in ((built, f"`{command}` makes it again"), (exported, "export it again")):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\x07" * 50)
        with pytest.raises(OmnijetError, match="cannot be loaded") as caught:
            require_own_graph(path, "dit_step")
        assert fix in str(caught.value.fix)
        assert rebuilding(path) == (command if path is built else None)
