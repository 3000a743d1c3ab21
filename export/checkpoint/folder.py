"""A Qwen2.5-Omni checkpoint on disk: its configuration, and tensors read on demand."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, KeysView, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from omnijet.export.checkpoint.config import packing_of, read_dims
from omnijet.export.checkpoint.packing import Packing, packed_layers, packed_layout
from omnijet.export.checkpoint.shard import (
    FLOAT_DTYPES,
    TORCH_DTYPES,
    Entry,
    read_header,
    read_tensor,
)
from omnijet.export.checkpoint.tensor_layout import SPEAKING, TensorLayout, checkpoint_layout
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
NEEDED = ("preprocessor_config.json", "tokenizer.json")
SPEAKERS = "spk_dict.pt"
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")

_NAMED = 8  # names in a message before "and n more"
# every release that stores these buffers also computes them from the dimensions
_DERIVED = (".inv_freq", ".filter", ".positional_embedding")


class Checkpoint:
    """A checkpoint folder; its weights are neither mapped nor kept in memory.

    Attributes:
        folder: The folder on disk.
        dims: The model's dimensions.
        packing: How quantized layers are packed; None for a float checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        dims: ModelDims,
        packing: Packing | None,
        entries: dict[str, Entry],
        faults: Sequence[str],
        lost: dict[str, str],
    ) -> None:
        self.folder = folder
        self.dims = dims
        self.packing = packing
        self._entries = entries
        self._faults = tuple(faults)  # faults of files found while opening
        self._lost = lost  # unreadable weights: key -> name of the file that should hold it

    @staticmethod
    def open(path: str | Path, *, speech: bool = True) -> Checkpoint:
        """Reads the configuration and the headers of all weight files.

        Faults of weight files are kept for `verify`, which reports all of them.

        Args:
            path: The folder.
            speech: False leaves out the parts that speak: their files and weights may be missing.

        Raises:
            OmnijetError: `path` is no checkpoint folder, or its configuration is not supported.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise OmnijetError(
                "there is no checkpoint",
                where=path,
                expected="a folder with config.json and safetensors files",
                fix="download one, or let omnijet fetch it: Qwen/Qwen2.5-Omni-3B",
            )
        config = read_json(folder / CONFIG)
        generation = folder / GENERATION_CONFIG
        dims = read_dims(
            config,
            read_json(generation) if generation.is_file() else None,
            str(folder / CONFIG),
            speech=speech,
        )
        entries: dict[str, Entry] = {}
        faults: list[str] = []
        lost: dict[str, str] = {}
        for name, keys in _weight_files(folder, dims.has_voice).items():
            try:
                found = read_header(folder / name)
            except OmnijetError as error:
                if (folder / name).exists():  # otherwise `missing_files` names the file
                    faults.append(_one_line(name, error))
                lost.update(dict.fromkeys(keys, name))
                continue
            entries.update(found)
            if absent := sorted(keys - found.keys()):
                listing = _names(absent)
                faults.append(
                    f"{INDEX}: {len(absent)} of {len(keys)} weights not in {name}: {listing}"
                )
                lost.update(dict.fromkeys(absent, name))
        return Checkpoint(folder, dims, packing_of(config), entries, faults, lost)

    def json(self, name: str) -> dict[str, Any]:
        """Reads a JSON file of the folder.

        Raises:
            OmnijetError: The file is missing or damaged.
        """
        return read_json(self.folder / name)

    def keys(self) -> KeysView[str]:
        """Returns the keys of all readable tensors."""
        return self._entries.keys()

    def entry(self, key: str) -> Entry:
        """Returns shape, dtype and position of a tensor.

        Raises:
            OmnijetError: There is no such tensor.
        """
        entry = self._entries.get(key)
        if entry is None:
            raise OmnijetError(
                "a weight is missing",
                where=self.folder / self._lost.get(key, ""),
                expected=key,
                fix="download the checkpoint again",
            )
        return entry

    def tensor(self, key: str) -> Tensor:
        """Reads a tensor in its stored dtype."""
        return read_tensor(self._readable(key))

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        """Reads only the rows `start` to `stop` (axis 0) of a tensor."""
        return read_tensor(self._readable(key), start, stop)

    def verify(self, dims: ModelDims) -> None:
        """Compares files and headers with the layout that `dims` require; reads no values.

        Raises:
            OmnijetError: Lists every missing file, damaged file, missing weight, wrong shape,
                wrong dtype, and weight that no part of the model reads.
        """
        layout = checkpoint_layout(dims)
        unfit: list[str] = []
        stored = self.keys() | self._lost.keys()
        if self.packing is not None:
            layout, misfits = packed_layout(layout, stored, self.packing)
            if misfits:
                layers = (
                    f"{len(misfits)} layers cannot be divided into groups of {self.packing.group}"
                )
                unfit = [f"{layers}: {_names(misfits)}"]
        elif packed := packed_layers(stored, layout):
            unfit = [f"{len(packed)} layers are packed, but {CONFIG} has no quantization_config"]
        missing = [
            f"{name} is missing" for name in missing_files(self.folder, speech=dims.has_voice)
        ]
        faults = [*missing, *self._faults, *unfit, *self._differences(layout)]
        if faults:
            count = f"{len(faults)} fault" + "s" * (len(faults) > 1)
            raise OmnijetError(
                f"the checkpoint cannot be exported ({count})",
                where=self.folder,
                got="\n            ".join(faults),
                fix="download the checkpoint again; if it is a fine-tune, merge its adapters and "
                "save the whole model",
            )

    def _differences(self, layout: dict[str, TensorLayout]) -> list[str]:
        entries = self._entries
        missing = [key for key in layout if key not in entries and key not in self._lost]
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
            _log.warning("token2wav has 16-bit weights (%d): %s", len(narrow), _names(narrow))
        total = len(layout)
        kinds = {
            f"of {total} weights missing": missing,
            f"of {total} weights have a wrong shape": shapes,
            f"of {total} weights have an unsupported dtype": dtypes,
            f"of {len(entries)} stored weights belong to no part of the model": unused,
        }
        return [f"{len(found)} {kind}: {_names(found)}" for kind, found in kinds.items() if found]

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


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        OmnijetError: The file is missing, unreadable, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OmnijetError(
            "a file of the checkpoint is missing",
            where=path,
            expected=path.name,
            fix="download the checkpoint again",
        ) from None
    except OSError as error:
        raise OmnijetError(
            "a file of the checkpoint cannot be read", where=path, got=error.strerror
        ) from error
    except (ValueError, RecursionError) as error:
        raise OmnijetError(
            "a JSON file is damaged", where=path, got=error, fix="download the checkpoint again"
        ) from error
    if not isinstance(data, dict):
        raise OmnijetError(
            "a JSON file is damaged", where=path, expected="an object", got=type(data).__name__
        )
    return data


def missing_files(folder: Path, *, speech: bool = True) -> list[str]:
    """Lists the files, by name, that a folder lacks to be a complete checkpoint.

    Args:
        folder: The checkpoint folder.
        speech: Whether the parts that speak are wanted.

    Raises:
        OmnijetError: The index of the weight files is damaged.
    """
    if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
        weights = [f"{SINGLE} or {INDEX}"]
    else:
        files = _weight_files(folder, speech)
        weights = [name for name in files if not (folder / name).is_file()]
    needed = (CONFIG, *NEEDED, *((SPEAKERS,) if speech else ()))
    missing = [name for name in needed if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in CHAT_TEMPLATES):
        missing.append(" or ".join(CHAT_TEMPLATES))
    return missing + weights


def silent_files(folder: Path) -> list[str]:
    """Lists the weight files, by name, that hold nothing but parts that speak."""
    if not (folder / INDEX).is_file() or (folder / SINGLE).is_file():
        return []
    return sorted(_weight_files(folder, True).keys() - _weight_files(folder, False).keys())


def _weight_files(folder: Path, speech: bool) -> dict[str, set[str]]:
    """Returns the weight files by name, each with the keys that the index expects in it.

    Args:
        folder: The checkpoint folder.
        speech: False leaves out the keys of the parts that speak, and files of nothing else.
    """
    if (folder / SINGLE).is_file():
        return {SINGLE: set()}
    if not (folder / INDEX).is_file():
        raise OmnijetError(
            "the checkpoint has no weights",
            where=folder,
            expected=f"{SINGLE}, or {INDEX} and its shards",
            fix="download the checkpoint again; other formats must be saved as safetensors first",
        )
    weight_map = read_json(folder / INDEX).get("weight_map")
    files: dict[str, set[str]] = {}
    pairs = weight_map.items() if isinstance(weight_map, dict) else ()
    valid = len(pairs) > 0
    for key, name in pairs:
        valid = valid and isinstance(name, str) and Path(name).name == name
        files.setdefault(str(name), set()).add(key)
    if not valid:
        raise OmnijetError(
            "the index of the weight files is damaged",
            where=folder / INDEX,
            expected="weight_map: an object of file names by weight",
            fix="download the checkpoint again",
        )
    if not speech:
        files = {
            name: {key for key in keys if not key.startswith(SPEAKING)}
            for name, keys in files.items()
        }
    return {name: keys for name, keys in sorted(files.items()) if keys}


def _one_line(name: str, error: OmnijetError) -> str:
    wanted = "" if error.expected is None else f", expected {error.expected}"
    return f"{name}: {error.what}: got {error.got}{wanted}"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
