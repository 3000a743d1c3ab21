"""Copies of graphs whose weights are wrong, as an engine's may be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.graph_rules import weights_beside

Change = Callable[[Array], Array]
"""Takes the values of a weight, flat, and returns as many others."""


def shuffled(values: Array) -> Array:
    return np.random.default_rng(1).permutation(values)


def doubled(values: Array) -> Array:
    return values * np.asarray(2, values.dtype)


def undefined(values: Array) -> Array:
    changed = values.copy()
    changed[len(changed) // 2] = np.nan
    return changed


def weights_of(graph: Path) -> dict[str, tuple[int, int]]:
    """Returns place and length in bytes of each weight in the file beside a graph."""
    found = {}
    for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            found[tensor.name] = int(place.get("offset", "0")), int(place["length"])
    return found


def changed(
    graph: Path, folder: Path, names: Iterable[str], change: Change, dtype: str = "float32"
) -> Path:
    """Copies a graph with some of its weights changed; returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copy(graph, folder))
    weights = Path(shutil.copy(weights_beside(graph), folder))
    content, places = np.fromfile(weights, np.uint8), weights_of(graph)
    for name in names:
        begin, length = places[name]
        part = content[begin : begin + length]
        part[:] = change(part.view(dtype)).astype(dtype).view(np.uint8)
    content.tofile(weights)
    return copy


def swapped(graph: Path, folder: Path, one: str, other: str) -> Path:
    """Copies a graph in which the weights of two layers have changed places."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copy(graph, folder))
    weights = Path(shutil.copy(weights_beside(graph), folder))
    content, places = np.fromfile(weights, np.uint8), weights_of(graph)
    before = content.copy()
    for name, (begin, length) in places.items():
        for mine, theirs in ((one, other), (other, one)):
            if name.startswith(mine):
                source, size = places[name.replace(mine, theirs, 1)]
                assert size == length
                content[begin : begin + length] = before[source : source + size]
    content.tofile(weights)
    return copy
