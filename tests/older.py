"""Bundles as older versions of omnijet wrote them, made from new ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from omnijet.runtime.bundle.manifest import Manifest, hash_file

ROWS = "picture_rows"


def with_single_pictures(bundle: Path, folder: Path) -> Path:
    """Copies a bundle to `folder`; its vision encoder takes one picture in a call, as all once did.

    A loop over blocks of queries had blocks without a set, and keys were those of all patches.
    """
    shutil.copytree(bundle, folder)
    manifest = Manifest.read(folder)
    file = manifest.graphs["vision_encoder"].file
    model = onnx.load(folder / file, load_external_data=False)
    graph = model.graph
    (rows,) = (one for one in graph.input if one.name == ROWS)
    graph.input.remove(rows)
    made = [
        helper.make_node("Constant", [], ["older.flat"], value_ints=[-1]),
        helper.make_node("Constant", [], ["older.axes"], value_ints=[0]),
        helper.make_node("Reshape", ["window_rows", "older.flat"], ["older.windows"]),
        helper.make_node("Gather", ["older.windows", "window_slots"], ["older.patches"]),
        helper.make_node("Unsqueeze", ["older.patches", "older.axes"], [ROWS]),
    ]
    nodes = [*made, *graph.node]
    makers = {name: node for node in nodes for name in node.output}
    for scan in [node for node in nodes if node.op_type == "Scan"]:
        split = makers[scan.input[0]]
        (joined,) = (node for node in nodes if scan.output[0] in node.input)
        assert split.op_type == joined.op_type == "Reshape"
        scan.input[0], scan.output[0] = split.input[0], joined.output[0]
        nodes.remove(split)
        nodes.remove(joined)
        _without_sets(scan)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, folder / file)
    files = {**manifest.files, file: hash_file(folder / file)}
    replace(manifest, joins_pictures=False, files=files).write(folder)
    return folder


def _without_sets(scan: onnx.NodeProto) -> None:
    body = next(one.g for one in scan.attribute if one.name == "body")
    for axes in [one for one in scan.attribute if one.name.endswith("_axes")]:
        scan.attribute.remove(axes)
    (attention,) = body.node
    own, seen = body.input[0], body.output[0]
    for value in (own, seen):
        del value.type.tensor_type.shape.dim[0]
    name = attention.name
    attention.input[0], attention.output[0] = f"{name}.query", f"{name}.result"
    nodes = [
        helper.make_node("Constant", [], [f"{name}.axes"], value_ints=[0]),
        helper.make_node("Unsqueeze", [own.name, f"{name}.axes"], [f"{name}.query"]),
        attention,
        helper.make_node("Squeeze", [f"{name}.result", f"{name}.axes"], [seen.name]),
    ]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del body.node[:]
    body.node.extend(copied)
