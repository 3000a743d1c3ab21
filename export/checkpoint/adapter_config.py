"""Reads the `adapter_config.json` of a LoRA adapter, as PEFT writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omnijet.export.checkpoint.config_section import Section
from omnijet.export.checkpoint.json_file import read_json

CONFIG = "adapter_config.json"
T = TypeVar("T")

_FLAGS = ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "inference_mode")
_NAMES = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern")
_REFUSED = (
    "use_qalora", "use_bdlora", "trainable_token_indices", "target_parameters",
    "layer_replication", "alora_invocation_tokens", "arrow_config", "kasa_config",
    "velora_config", "monteclora_config", "megatron_config",
)  # fmt: skip
"""Variants of LoRA whose merge is another formula, or that change what the base is."""
_OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Initialisations that subtract the first adapter from the weights of the base."""
_HARMLESS = ("use_", "_config")  # an unknown field of such a name changes what an adapter means
_KNOWN = ("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config")
_LONGEST_PATTERN = 1000
_REPEATED_GROUP = re.compile(r"\)[+*{]")  # such a pattern may match for hours
_REPEAT = re.compile(r"[+*{]")
_MOST_REPEATS = 4


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter's tensors mean.

    Attributes:
        base: The name or path of the model that it was trained on; None if it does not say.
        rank: The rank of layers that no pattern names.
        alpha: The numerator of the scaling of such layers.
        ranks: The rank by pattern of a layer's name.
        alphas: The numerator by pattern.
        rslora: Whether the numerator is divided by the root of the rank.
        dora: Whether magnitudes are apart from directions.
    """

    base: str | None = None
    rank: int = 8
    alpha: float = 8.0
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False

    def rank_of(self, module: str) -> int:
        """Returns the rank of a layer, by the name that it has in the adapter."""
        return _of(self.ranks, module, self.rank)

    def scaling_of(self, module: str) -> float:
        """Returns the factor of a layer's product."""
        rank, alpha = self.rank_of(module), _of(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def read_adapter_config(folder: Path, faults: list[str]) -> AdapterConfig:
    """Reads the configuration of an adapter.

    Args:
        folder: The folder of the adapter.
        faults: Receives one line for each value that cannot be used.

    Raises:
        OmnijetError: There is no such file, or it is damaged.
    """
    root = Section(read_json(folder / CONFIG), "", faults)
    root.require(root.raw("peft_type") == "LORA", "peft_type", "'LORA'", root.raw("peft_type"))
    flags = {key: _flag(root, key) for key in _FLAGS}
    for key in _NAMES:
        _names(root, key)
    _text(root, "bias", ("none", "all", "lora_only"))
    _refuse_variants(root)
    return AdapterConfig(
        base=_text(root, "base_model_name_or_path"),
        rank=root.integer("r", default=8),
        alpha=_value(root, "lora_alpha", root.raw("lora_alpha"), 8.0),
        ranks=_patterns(root, "rank_pattern", _rank),
        alphas=_patterns(root, "alpha_pattern", _number),
        rslora=flags["use_rslora"],
        dora=flags["use_dora"],
    )


def base_of(folder: Path) -> str | None:
    """Returns the model that an adapter was trained on, None if its configuration does not say."""
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    return name if isinstance(name, str) and name and name.isprintable() else None


def _of(patterns: Mapping[str, T], module: str, default: T) -> T:
    # PEFT: the first pattern that matches the end of the name, from the start or after a dot
    return next((v for key, v in patterns.items() if _fits(key, module)), default)


def _fits(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def _flag(root: Section, key: str) -> bool:
    value = root.raw(key)
    if value is not None and not isinstance(value, bool):
        root.fault(key, "true or false", value)
    return value is True


def _text(root: Section, key: str, allowed: Iterable[str] = ()) -> str | None:
    value = root.raw(key)
    known = list(allowed)
    if value is None or (isinstance(value, str) and (not known or value in known)):
        return value
    root.fault(key, " or ".join(map(repr, known)) or "a text", value)
    return None


def _names(root: Section, key: str) -> None:
    value = root.raw(key)
    listed = [value] if isinstance(value, str) else value
    if value is not None and not (
        isinstance(listed, list) and all(isinstance(name, str) for name in listed)
    ):
        root.fault(key, "names", value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        return None
    return float(value)


def _rank(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or number < 1 or number != int(number) else int(number)


def _value(root: Section, key: str, value: Any, default: float) -> float:
    number = default if value is None else _number(value)
    if number is None:
        root.fault(key, "a number", value)
    return default if number is None else number


def _patterns(root: Section, key: str, read: Callable[[Any], T | None]) -> dict[str, T]:
    data = root.raw(key)
    found: dict[str, T] = {}
    if data is None:
        return found
    if not isinstance(data, dict):
        root.fault(key, "an object of numbers by name", data)
        return found
    for pattern, value in data.items():
        number = read(value)
        if number is None:
            root.fault(f"{key}.{pattern}", "a number (a rank is whole and at least 1)", value)
        elif not _is_pattern(pattern):
            root.fault(key, "names, or simple patterns of names", pattern)
        else:
            found[pattern] = number
    return found


def _is_pattern(text: str) -> bool:
    repeats = len(_REPEAT.findall(text))
    if len(text) > _LONGEST_PATTERN or repeats > _MOST_REPEATS or _REPEATED_GROUP.search(text):
        return False
    try:
        _fits(text, "")
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _refuse_variants(root: Section) -> None:
    for key in root.unread():
        unknown = key.startswith(_HARMLESS[0]) or key.endswith(_HARMLESS[1])
        if key in _REFUSED or (unknown and key not in _KNOWN):
            value = root.raw(key)
            if value not in (None, False, [], {}):
                root.fault(key, "none: this variant cannot be merged", value)
    start = root.raw("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_OTHER_BASE):
        wanted = "an adapter of the unchanged base, as PEFT saves it with"
        option = "path_initial_model_for_weight_conversion"
        root.fault("init_lora_weights", f"{wanted} {option}", start)
    elif start is not None and not isinstance(start, bool | str):
        root.fault("init_lora_weights", "true, false or a name", start)
