"""The names of an adapter's tensors, and what each of them belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_PREFIX = "base_model.model."
_THINKER = "thinker."
_NAME = r"(?:\.default)?"  # some trainers keep the name that PEFT removes
_PART = re.compile(
    rf"(?P<module>.+)\.(?P<part>lora_embedding_A|lora_embedding_B|lora_magnitude_vector|lora_A"
    rf"|lora_B){_NAME}(?:\.(?P<leaf>weight|bias))?"
)
_WRAPPER = re.compile(rf"\.(?:modules_to_save{_NAME}|original_module|base_layer)(?=\.)")


@dataclass(frozen=True, slots=True)
class PartName:
    """What one tensor of an adapter is.

    Attributes:
        module: The layer, by the name that it has in the adapter.
        part: Which tensor of the layer: "lora_A" say; with ".bias" if it is one's bias. A tensor
            that replaces the base's is "weight" or "bias".
    """

    module: str
    part: str


def parse(key: str) -> PartName:
    """Takes the key of a tensor apart."""
    name = key.removeprefix(_PREFIX)
    match = _PART.fullmatch(name)
    if match is None:
        module, _, part = _WRAPPER.sub("", name).rpartition(".")
        return PartName(module, part)
    return PartName(match["module"], match["part"] + (".bias" if match["leaf"] == "bias" else ""))


def canonical(module: str, known: Collection[str]) -> str:
    """Returns a layer's name in a whole model; an adapter of the Thinker leaves that out.

    Args:
        module: The layer's name in the adapter.
        known: The names of all layers.
    """
    return module if module in known or _THINKER + module not in known else _THINKER + module
