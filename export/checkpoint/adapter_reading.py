"""Reads one LoRA adapter: which weights it changes, and what of it does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omnijet.export.checkpoint.adapter_config import CONFIG, AdapterConfig, read_adapter_config
from omnijet.export.checkpoint.adapter_keys import canonical, parse
from omnijet.export.checkpoint.adapter_shapes import embedding_shapes, linear_shapes, misfits
from omnijet.export.checkpoint.merge import Change, EmbeddingLowRank, LowRank, Merge, Shift
from omnijet.export.checkpoint.shard import FLOAT_DTYPES, Entry, read_header
from omnijet.export.checkpoint.tensor_layout import SPEAKING
from omnijet.export.checkpoint.weight_files import listed
from omnijet.runtime.errors import OmnijetError

WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
CONVERSION = (
    'python -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in '
    f"torch.load('{PICKLE}', weights_only=True).items()}}, '{WEIGHTS}')\""
)
_LINEAR = ("lora_A", "lora_B")
_EMBEDDING = ("lora_embedding_A", "lora_embedding_B")
_MAGNITUDE = "lora_magnitude_vector"
_OF_LORA = "lora_"
_UNPACKED = "an adapter is merged with weights of full precision"


@dataclass(slots=True)
class Adapter:
    """One adapter that fits a checkpoint.

    Attributes:
        folder: Its folder.
        ranks: The rank of each layer that it changes, by the layer's name in the checkpoint.
        replaced: The weights that it replaces.
        silent: How many of its tensors belong to parts that speak, which are left out.
    """

    folder: Path
    ranks: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    silent: int = 0

    @property
    def summary(self) -> str:
        """What it changes, in words."""
        low, high = min(self.ranks.values(), default=0), max(self.ranks.values(), default=0)
        said = []
        if self.ranks:
            rank = f"rank {low}" if low == high else f"ranks {low} to {high}"
            said.append(f"{_count(len(self.ranks), 'layer')}, {rank}")
        if self.replaced:
            said.append(f"{_count(len(self.replaced), 'weight')} replaced")
        if self.silent:
            said.append(f"{_count(self.silent, 'tensor')} of parts that speak left out")
        return ", ".join(said)


class AdapterReader:
    """Reads one adapter; adds what it does to `merges`, and what does not fit to `faults`."""

    def __init__(
        self,
        folder: Path,
        entries: Mapping[str, Entry],
        merges: dict[str, Merge],
        faults: list[str],
        *,
        speech: bool,
    ) -> None:
        self._entries = entries
        self._merges = merges
        self._faults = faults
        self._speech = speech
        self._known = {key.rpartition(".")[0] for key in entries}
        self._unmatched: list[str] = []
        self._unlike: list[str] = []
        self._own: dict[str, None] = {}  # the weights that this adapter changes
        self._adapter = Adapter(folder)

    def read(self) -> Adapter:
        folder = self._adapter.folder
        path = _weights_of(folder)
        config = read_adapter_config(folder, self._faults)
        header = read_header(path)
        if not header:
            self._faults.append(f"{WEIGHTS} holds no tensor")
        strange = [f"{k} is {e.dtype}" for k, e in header.items() if e.dtype not in FLOAT_DTYPES]
        layers = self._layers(header)
        for module, parts in layers.items():
            self._whole(module, parts)
        for module, parts in layers.items():
            if low_rank := {part: e for part, e in parts.items() if part.startswith(_OF_LORA)}:
                self._low_rank(module, low_rank, config)
        self._report(strange, "without a float dtype")
        self._report(self._unmatched, "without a counterpart in the checkpoint")
        self._report(self._unlike, "of another shape or kind")
        for key in self._own:
            self._merges[key].origins.append(str(folder))
        return self._adapter

    def _layers(self, header: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
        layers: dict[str, dict[str, Entry]] = {}
        silent = 0
        for key, entry in header.items():
            name = parse(key)
            if not self._speech and name.module.startswith(SPEAKING):
                silent += 1
                continue
            layers.setdefault(name.module, {})[name.part] = entry
        self._adapter.silent = silent
        return layers

    def _whole(self, module: str, parts: Mapping[str, Entry]) -> None:
        """Replaces weights by those of `modules_to_save`, biases, and saved embeddings."""
        for part, entry in parts.items():
            key = f"{canonical(module, self._known)}.{part}"
            if part.startswith(_OF_LORA) or not self._fits(key, entry, self._shape(key)):
                continue
            merge = self._merges.setdefault(key, Merge())
            # PEFT saves the table of an embedding that has low-rank changes, changed or not
            if merge.changes or (merge.source is not None and not key.endswith("_tokens.weight")):
                self._faults.append(f"{key} is replaced, but an earlier adapter changes it too")
                continue
            merge.source = entry
            self._own[key] = None
            self._adapter.replaced.append(key)

    def _low_rank(self, module: str, parts: dict[str, Entry], config: AdapterConfig) -> None:
        """Adds the product of a layer's two matrices."""
        name = canonical(module, self._known)
        key = f"{name}.weight"
        shape = self._shape(key)
        if f"{name}.qweight" in self._entries:
            self._faults.append(f"{name} is packed in few bits: {_UNPACKED}")
            return
        if shape is None:
            self._unmatched.append(module)
            return
        linear = any(part in parts for part in _LINEAR)
        wanted = [*(_LINEAR if linear else _EMBEDDING), *([_MAGNITUDE] if config.dora else [])]
        if missing := [part for part in wanted if part not in parts]:
            self._unlike.append(f"{module} lacks {' and '.join(missing)}")
            return
        bias = parts.pop("lora_B.bias", None)
        if spare := sorted(parts.keys() - set(wanted)):
            self._unlike.append(f"{module} has {', '.join(spare)}, of which {CONFIG} says nothing")
            return
        rank = config.rank_of(module)
        shapes = (linear_shapes if linear else embedding_shapes)(key, shape, rank)
        entries = [parts[part] for part in wanted]
        if wrong := misfits([f"{module}.{part}" for part in wanted], entries, shapes):
            self._unlike += wrong
            return
        scaling = config.scaling_of(module)
        down, up, *magnitude = entries
        kind = LowRank if linear else EmbeddingLowRank
        self._add(key, kind(down, up, scaling, magnitude[0] if magnitude else None))
        self._adapter.ranks[name] = rank
        if bias is not None and self._fits(f"{name}.bias", bias, self._shape(f"{name}.bias")):
            self._add(f"{name}.bias", Shift(bias, scaling))

    def _add(self, key: str, change: Change) -> None:
        self._merges.setdefault(key, Merge()).changes.append(change)
        self._own[key] = None

    def _shape(self, key: str) -> tuple[int, ...] | None:
        entry = self._entries.get(key)
        return None if entry is None or entry.dtype not in FLOAT_DTYPES else entry.shape

    def _fits(self, key: str, entry: Entry, shape: tuple[int, ...] | None) -> bool:
        if shape is None:
            self._unmatched.append(key)
        elif entry.shape != shape:
            self._unlike.append(f"{key} is {list(entry.shape)}, not {list(shape)}")
        return entry.shape == shape

    def _report(self, found: Sequence[str], what: str) -> None:
        if found:
            self._faults.append(f"{_count(len(found), 'tensor')} {what}: {listed(found)}")


def _weights_of(folder: Path) -> Path:
    """Returns the file of an adapter's tensors; raises `OmnijetError` if it has none."""
    lacking = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if lacking == [WEIGHTS] and (folder / PICKLE).is_file():
        raise OmnijetError(
            f"{PICKLE} is not read", got="a pickle", fix=f"in its folder: {CONVERSION}"
        )
    if lacking:
        fix = "pass the folder that PEFT's save_pretrained wrote"
        raise OmnijetError("there is no adapter", got=f"no {' and no '.join(lacking)}", fix=fix)
    return folder / WEIGHTS


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)
