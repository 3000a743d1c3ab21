"""The file of one graph's reference: `reference/GRAPH.npz`, named by the manifest with its hash.

It holds inputs and kept outputs of one graph. Outputs are of half precision, each divided by its
largest value: that adds an error of 70 dB below the signal, and halves the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.runtime.backends.ort_installed import reads_graphs
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.array_file import read_archive_of_arrays
from omnijet.runtime.files.bounded import BadFile
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.whole_file import writing_whole
from omnijet.runtime.reference.kept import Kept

FOLDER = "reference"
FORMAT = "omnijet-reference-1"
MOST_BYTES = 64 << 20
MOST_OUTPUTS = 2000  # of a decoder of 200 layers: keys and values of a prompt and of a step


@dataclass(frozen=True, slots=True)
class Reference:
    """What a graph made of some inputs.

    Attributes:
        made_of: sha256 of the graph's file and of its weights.
        made_with: versions, and what ran the graph.
        inputs: as `omnijet.runtime.reference.replay` reads them.
        outputs: the kept parts by name.
        moved_db: how far each output moved when the inputs did (`omnijet.runtime.reference.gate`).
    """

    graph: str
    made_of: tuple[str, str]
    made_with: Mapping[str, str]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Kept]
    moved_db: Mapping[str, float]

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all. Raises `OSError`."""
        header: dict[str, Any] = {
            "format": FORMAT, "graph": self.graph, "made_of": list(self.made_of),
            "made_with": dict(self.made_with), "inputs": list(self.inputs),
            "outputs": [
                {
                    "name": name, "shape": list(one.shape), "scale": _scale(one.values),
                    "moved_db": round(self.moved_db[name], 1), "is_logits": one.best is not None,
                }
                for name, one in self.outputs.items()
            ],
        }  # fmt: skip
        arrays = {"header": np.array([json.dumps(header)])}
        arrays |= {f"in/{number}": array for number, array in enumerate(self.inputs.values())}
        for number, one in enumerate(self.outputs.values()):
            arrays[f"out/{number}"] = (one.values / _scale(one.values)).astype(np.float16)
            if one.best is not None:
                arrays[f"ids/{number}"], arrays[f"best/{number}"] = one.best
        rowwise = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with writing_whole(path, follow_link=False) as file:
            np.savez(file, allow_pickle=False, **rowwise)

    @staticmethod
    def of(bundle: Bundle, graph: str) -> Reference:
        """Reads the reference of a graph of a bundle.

        Raises:
            OmnijetError: there is none, it cannot be read, its hash is not the manifest's, or it
                belongs to another graph.
        """
        manifest, name = bundle.manifest, file_of(graph)
        if name not in manifest.files:
            raise OmnijetError(
                f"the bundle has no reference of {graph}",
                where=bundle.folder,
                fix=how_to_record(bundle.folder),
            )
        path = bundle.folder / name
        with bundle.watch.reading(name):
            found = Reference.read(path)
            if hash_file(path) != manifest.files[name]:
                raise _unreadable(path, "another hash than the manifest says", bundle.folder)
        if (found.graph, found.made_of) != (graph, made_of(manifest, graph)):
            raise _unreadable(path, f"one of another {found.graph}"[:80], bundle.folder)
        return found

    @staticmethod
    def read(path: Path) -> Reference:
        """Reads what `write` wrote. Raises `OmnijetError` if the file is another one."""
        try:
            if (size := path.stat().st_size) > MOST_BYTES:
                raise BadFile(f"{size:,} bytes, more than {MOST_BYTES:,}")
            return _parsed(dict(read_archive_of_arrays(path)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unreadable(path, error, path.parent.parent) from error


def file_of(graph: str) -> str:
    """Returns the name of a graph's reference in its bundle."""
    return f"{FOLDER}/{graph}.npz"


def made_of(manifest: Manifest, graph: str) -> tuple[str, str]:
    """Returns what a reference of this graph says it was made of."""
    entry = manifest.graphs[graph]
    return manifest.files[entry.file].sha256, manifest.files[entry.weights].sha256


def how_to_record(folder: Path) -> str:
    """Returns the way to references, for messages: another machine, if this one cannot run the
    graphs or does not have them.
    """
    command = f"omnijet check {shell_quoted(folder)} --record-reference"
    if reads_graphs() and (folder / "graphs").is_dir():
        return command
    return f"on a PC that has the graphs: {command}; then copy the bundle here again"


def _scale(values: Array) -> float:
    return float(np.abs(values).max(initial=0.0)) or 1.0


def _parsed(arrays: Mapping[str, Array]) -> Reference:
    header = parsed(str(arrays["header"][0]))
    if header["format"] != FORMAT:
        raise BadFile(f"format {header['format']!r}"[:60])
    graph_sha, weights_sha = header["made_of"]
    inputs = {str(name): arrays[f"in/{number}"] for number, name in enumerate(header["inputs"])}
    if len(header["outputs"]) > MOST_OUTPUTS:
        raise BadFile(f"{len(header['outputs']):,} outputs")
    outputs, moved = {}, {}
    for number, facts in enumerate(header["outputs"]):
        name = str(facts["name"])
        values = arrays[f"out/{number}"].astype(np.float32) * np.float32(facts["scale"])
        best = None
        if facts["is_logits"]:
            best = (arrays[f"ids/{number}"], arrays[f"best/{number}"].astype(np.float32))
            if best[0].shape != best[1].shape or best[0].shape[:1] != values.shape[:1]:
                raise BadFile(f"{name} of other ids than values")
        if values.ndim != 2 or not np.isfinite(values).all():
            raise BadFile(f"{name} of shape {values.shape}, or not finite")
        outputs[name] = Kept(values, tuple(int(axis) for axis in facts["shape"]), 0, best)
        moved[name] = float(facts["moved_db"])
    made_with = {str(key): str(value) for key, value in header["made_with"].items()}
    return Reference(
        str(header["graph"]), (str(graph_sha), str(weights_sha)), made_with, inputs, outputs, moved
    )


def _unreadable(path: Path, got: object, folder: Path) -> OmnijetError:
    return OmnijetError(
        "a reference of the bundle cannot be used",
        where=path,
        expected="a file that `omnijet export`, `quantize` or `check --record-reference` wrote",
        got=got,
        fix=how_to_record(folder),
    )
