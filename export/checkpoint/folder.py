"""A Qwen2.5-Omni checkpoint on disk: its configuration, and tensors read on demand.

What a fine-tune lacks is taken from its base, if one is given.
"""

from __future__ import annotations

import logging
from collections.abc import KeysView, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from omnijet.export.checkpoint.adapter import read_adapters
from omnijet.export.checkpoint.adapter_reading import Adapter
from omnijet.export.checkpoint.config import packing_of, read_dims
from omnijet.export.checkpoint.json_file import read_json
from omnijet.export.checkpoint.merge import Merge
from omnijet.export.checkpoint.numbers import finite, not_finite
from omnijet.export.checkpoint.packing import Packing, packed_layers, packed_layout
from omnijet.export.checkpoint.parts import absent_parts, take_parts
from omnijet.export.checkpoint.shard import FLOAT_DTYPES, TORCH_DTYPES, Entry, read_tensor
from omnijet.export.checkpoint.tensor_layout import SPEAKING, TensorLayout, checkpoint_layout
from omnijet.export.checkpoint.weight_files import (
    WeightFiles,
    listed,
    missing_weight_files,
    read_weight_files,
)
from omnijet.export.checkpoint.whole_config import differences, is_thinker, whole_config
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
# every release that stores these buffers also computes them from the dimensions
_DERIVED = (".inv_freq", ".filter", ".positional_embedding")


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint folder; its weights are neither mapped nor kept in memory.

    Attributes:
        folder: The folder on disk.
        dims: The model's dimensions.
        packing: How quantized layers are packed; None for a float checkpoint.
        base: The folder that missing parts and files are taken from; None if there is none.
        origins: With a base, the folder of every part of the model.
        is_thinker: Whether the folder holds a Thinker without the rest of the model.
        adapters: What is merged with the weights.
    """

    folder: Path
    dims: ModelDims
    packing: Packing | None
    weights: WeightFiles
    base: Path | None = None
    origins: dict[str, Path] = field(default_factory=dict)
    is_thinker: bool = False
    adapters: list[Adapter] = field(default_factory=list)
    _merges: dict[str, Merge] = field(default_factory=dict)

    @staticmethod
    def open(
        path: str | Path, *, base: str | Path | None = None, speech: bool = True
    ) -> Checkpoint:
        """Reads the configuration and the headers of all weight files.

        Faults of weight files are kept for `verify`, which reports all of them.

        Args:
            path: The folder.
            base: The folder of the model that it was tuned from: what is missing comes from there.
            speech: False leaves out the parts that speak: their files and weights may be missing.

        Raises:
            OmnijetError: `path` is no checkpoint folder, its configuration is not supported, or
                the base has other dimensions.
        """
        folder = _existing(path)
        below = None if base is None else _existing(base)
        own = read_json(folder / CONFIG)
        under = None if below is None else read_json(below / CONFIG)
        config = whole_config(own, under)
        generation = found(GENERATION_CONFIG, folder, below)
        where = str(folder / CONFIG)
        dims = read_dims(
            config, None if generation is None else read_json(generation), where, speech=speech
        )
        speaks, alone = dims.has_voice, is_thinker(own)
        weights = read_weight_files(folder, speech=speaks, thinker_alone=alone)
        if below is None or under is None:
            return Checkpoint(folder, dims, packing_of(config), weights, is_thinker=alone)
        _require_same(dims, whole_config(under), folder, below)
        more = read_weight_files(below, speech=speaks, thinker_alone=is_thinker(under))
        origins = take_parts(weights, more, folder, below, speaks)
        packed = under if origins["Thinker"] == below else own
        packing = packing_of(whole_config(packed))
        return Checkpoint(folder, dims, packing, weights, below, origins, alone)

    def file(self, *names: str) -> Path | None:
        """Returns the first file of these names in the folder, else in the base, else None."""
        return next((p for name in names if (p := found(name, self.folder, None))), None) or next(
            (p for name in names if (p := found(name, self.folder, self.base))), None
        )

    def json(self, *names: str) -> dict[str, Any]:
        """Reads a JSON file of the folder, or of the base.

        Raises:
            OmnijetError: The file is missing or damaged.
        """
        return read_json(self.file(*names) or self.folder / names[0])

    def keys(self) -> KeysView[str]:
        """Returns the keys of all readable tensors."""
        return self.weights.entries.keys()

    def entry(self, key: str) -> Entry:
        """Returns shape, dtype and position of a tensor.

        Raises:
            OmnijetError: There is no such tensor.
        """
        entry = self.weights.entries.get(key)
        if entry is None:
            raise OmnijetError(
                "a weight is missing",
                where=self.folder / self.weights.lost.get(key, ""),
                expected=key,
                fix="download the checkpoint again",
            )
        return entry

    def tensor(self, key: str) -> Tensor:
        """Reads a tensor in its stored dtype, with adapters merged.

        Raises:
            OmnijetError: A value is NaN or infinite.
        """
        entry = self._readable(key)
        if entry.shape:
            return self.rows(key, 0, entry.shape[0])
        return self._checked(read_tensor(entry))

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        """Reads only the rows `start` to `stop` (axis 0) of a tensor.

        Raises:
            OmnijetError: A value is NaN or infinite.
        """
        return self._checked(self._rows(key, start, stop))

    def merge(self, folders: Sequence[Path]) -> None:
        """Merges LoRA adapters, in this order, with all weights that are read from now on.

        Raises:
            OmnijetError: Lists everything that cannot be merged.
        """
        self.adapters, self._merges = read_adapters(
            folders, self.weights.entries, speech=self.dims.has_voice
        )

    def _rows(self, key: str, start: int, stop: int) -> Tensor:
        entry = self._readable(key)
        merge = self._merges.get(key)
        read = read_tensor if merge is None else merge.rows
        return read(entry, start, stop)

    def _checked(self, value: Tensor) -> Tensor:
        if finite(value):
            return value
        merges = self._merges
        raise not_finite(
            self.folder,
            self.weights.entries,
            self._rows,
            lambda key: merges[key].origins if key in merges else (),
        )

    @property
    def absent_parts(self) -> list[str]:
        """The parts of the model of which there is no weight."""
        return absent_parts(self.weights, self.dims.has_voice)

    def faults(self, dims: ModelDims) -> list[str]:
        """Compares headers with the layout that `dims` require; reads no values.

        Returns:
            One line for each missing or damaged weight file, missing part, missing weight, wrong
            shape, wrong dtype, and weight that no part of the model reads.
        """
        layout = checkpoint_layout(dims)
        unfit: list[str] = []
        stored = self.weights.keys()
        if self.packing is not None:
            layout, misfits = packed_layout(layout, stored, self.packing)
            if misfits:
                layers = (
                    f"{len(misfits)} layers cannot be divided into groups of {self.packing.group}"
                )
                unfit = [f"{layers}: {listed(misfits)}"]
        elif packed := packed_layers(stored, layout):
            unfit = [f"{len(packed)} layers are packed, but {CONFIG} has no quantization_config"]
        files = missing_weight_files(self.folder, speech=dims.has_voice)
        missing = [f"{name} is missing" for name in files]
        return [*missing, *self.weights.faults, *unfit, *self._differences(layout)]

    def verify(self, dims: ModelDims) -> None:
        """Checks the weights. Raises `OmnijetError`, which lists all `faults`."""
        if faults := self.faults(dims):
            raise unusable(self.folder, faults, "download the checkpoint again")

    def _differences(self, layout: dict[str, TensorLayout]) -> list[str]:
        entries = self.weights.entries
        stored = self.weights.keys()
        missing = [key for key, wanted in layout.items() if key not in stored and not wanted.buffer]
        unused = [key for key in entries if key not in layout and not key.endswith(_DERIVED)]
        if not self.dims.has_voice:
            unused = [key for key in unused if not key.startswith(SPEAKING)]
        shapes, dtypes, narrow = [], [], []
        for key, wanted in layout.items():
            entry = entries.get(key)
            if entry is None:
                continue
            known = ["i32"] if wanted.dtype == "i32" else list(FLOAT_DTYPES)
            if entry.dtype not in known:
                dtypes.append(f"{key} is {entry.dtype}, not {' or '.join(known)}")
            elif wanted.dtype == "f32" and entry.dtype != "f32":
                narrow.append(key)
            if entry.shape != wanted.shape:
                shapes.append(f"{key} is {list(entry.shape)}, not {list(wanted.shape)}")
        if narrow:
            _log.warning("token2wav has 16-bit weights (%d): %s", len(narrow), listed(narrow))
        total = len(layout)
        kinds = {
            f"of {total} weights missing": missing,
            f"of {total} weights have a wrong shape": shapes,
            f"of {total} weights have an unsupported dtype": dtypes,
            f"of {len(entries)} stored weights belong to no part of the model": unused,
        }
        return [f"{len(found)} {kind}: {listed(found)}" for kind, found in kinds.items() if found]

    def _readable(self, key: str) -> Entry:
        entry = self.entry(key)
        if entry.dtype not in TORCH_DTYPES:
            raise OmnijetError(
                "a weight has an unsupported dtype",
                where=f"{entry.path}: {key}",
                expected=" or ".join(TORCH_DTYPES),
                got=entry.dtype,
                fix="use the full-precision checkpoint",
            )
        return entry


def found(name: str, folder: Path, base: Path | None) -> Path | None:
    """Returns a file of a folder, or else of its base; None if neither has it."""
    folders = (folder,) if base is None else (folder, base)
    return next((place / name for place in folders if (place / name).is_file()), None)


def unusable(folder: Path, faults: list[str], fix: str) -> OmnijetError:
    """The error of a checkpoint with these faults."""
    count = f"{len(faults)} fault" + "s" * (len(faults) > 1)
    return OmnijetError(
        f"the checkpoint cannot be exported ({count})",
        where=folder,
        got="\n            ".join(faults),
        fix=fix,
    )


def _existing(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    raise OmnijetError(
        "there is no checkpoint",
        where=path,
        expected="a folder with config.json and safetensors files",
        fix="download one, or let omnijet fetch it: Qwen/Qwen2.5-Omni-3B",
    )


def _require_same(dims: ModelDims, base: dict[str, Any], folder: Path, below: Path) -> None:
    """Raises `OmnijetError` if a base has other dimensions."""
    theirs = read_dims(base, None, str(below / CONFIG), speech=dims.has_voice)
    if unlike := differences(dims.to_json(), theirs.to_json()):
        raise OmnijetError(
            "the base is a model of other dimensions",
            where=below,
            expected=f"the model that {folder} was tuned from",
            got="\n            ".join(unlike),
            fix="pass that model with --base",
        )
