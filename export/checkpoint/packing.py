"""Reads how a quantized checkpoint packs its layers, and derives the tensors that it stores.

This covers checkpoints such as Qwen2.5-Omni-7B-AWQ and -GPTQ-Int4, where the Linear layers of
the Thinker's decoder, and possibly of the Talker's, are packed and everything else is float. A
layer [inputs, outputs] becomes 32-bit words of 4-bit numbers, the first in the lowest bits, and
a float scale and a zero point for each group of input features:
weight = (number - zero point) * scale.

AWQ, version "gemm" (AutoAWQ, `awq/modules/linear/gemm.py`, `awq/utils/packing_utils.py`):
  qweight i32[inputs, outputs / 8], qzeros i32[groups, outputs / 8], scales f16[groups, outputs];
  a word holds its outputs in the order 0, 2, 4, 6, 1, 3, 5, 7.
  The packed layers: `awq/models/qwen2_5_omni.py` (pull request 759); the configuration:
  `awq/models/_config.py`.
GPTQ (AutoGPTQ and GPTQModel, `qlinear_torch.py`: `pack` and `forward`):
  qweight i32[inputs / 8, outputs], packed along the inputs; qzeros i32[groups, outputs / 8] in
  plain order; scales; g_idx i32[inputs], the group of each input feature. The format "gptq"
  stores zero points less one, "gptq_v2" stores them as they are (GPTQModel, `utils/model.py`:
  `convert_gptq_v1_to_v2_format_module`). Some packers write all-zero biases for layers that have
  none (vLLM skips them as "extra bias for GPTQ models"). The packed layers of Qwen2.5-Omni:
  `gptqmodel/models/definitions/base_qwen2_5_omni.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from omnijet.export.checkpoint.config_section import Section
from omnijet.export.checkpoint.tensor_layout import TensorLayout

_PACKABLE = re.compile(r"((?:thinker|talker)\.model\.layers\.\d+\.(?:self_attn|mlp)\.\w+)\.weight")
_WORD_BITS = 32
_PARTS = ("qweight", "qzeros", "scales")


@dataclass(frozen=True, slots=True)
class Packing:
    """The format of all packed layers of a checkpoint.

    Attributes:
        method: The family of the format.
        bits: The width of a number.
        group: The number of input features that share a scale.
        zeros_less_one: Whether zero points are stored less one.
        borrows: Whether the one was subtracted from whole words, as GPTQModel does, so that
            a zero point of 0 borrowed from its neighbour.
    """

    method: Literal["awq", "gptq"]
    bits: Literal[4, 8]
    group: int
    zeros_less_one: bool = False
    borrows: bool = False

    @property
    def per_word(self) -> int:
        """Returns how many numbers a word holds."""
        return _WORD_BITS // self.bits

    def tensors(self, inputs: int, outputs: int) -> dict[str, TensorLayout]:
        """Returns the tensors that a layer must store, by the last part of their names."""
        groups, words = inputs // self.group, outputs // self.per_word
        along_inputs = (inputs // self.per_word, outputs)
        weight = along_inputs if self.method == "gptq" else (inputs, words)
        return {
            "qweight": TensorLayout(weight, "i32"),
            "qzeros": TensorLayout((groups, words), "i32"),
            "scales": TensorLayout((groups, outputs), "f16"),
        }

    def divides(self, inputs: int, outputs: int) -> bool:
        """Whether groups and words divide the layer without a remainder."""
        even = inputs % self.group == 0 and outputs % self.per_word == 0
        return even and (self.method == "awq" or inputs % self.per_word == 0)


def read_packing(*sections: Section) -> Packing | None:
    """Reads the `quantization_config` of the first section that has one; None if none has one.

    Faults are recorded in the sections, and so are sections that contradict each other.
    """
    found: Packing | None = None
    for section in sections:
        if section.raw("quantization_config") is None:
            continue
        own = section.child("quantization_config")
        packing = _read(own)
        if found is not None and packing != found:
            own.require(False, "", f"what {sections[0].path or 'the top'} says: {found}", packing)
        found = found or packing
    return found


def _read(own: Section) -> Packing | None:
    method = own.raw("quant_method")
    if method not in ("awq", "gptq"):
        own.fault("quant_method", "'awq' or 'gptq', or full-precision weights", method)
        return None
    group = own.integer("group_size", "q_group_size", default=128)
    bits = own.integer("bits", "w_bit", default=4)
    allowed = (4,) if method == "awq" else (4, 8)
    own.require(bits in allowed, "bits", " or ".join(map(str, allowed)), bits)
    if method == "awq":
        own.only("version", ("gemm", "GEMM"))
        return Packing("awq", 4, group)
    own.only("checkpoint_format", ("gptq", "gptq_v2"))
    own.only("is_marlin_format", (False,))
    own.only("pack_dtype", ("int32",))
    less_one = own.raw("checkpoint_format") != "gptq_v2"
    author = str(own.child("meta").raw("quantizer")).lower()
    borrows = less_one and "gptqmodel" in author
    return Packing("gptq", 8 if bits == 8 else 4, group, zeros_less_one=less_one, borrows=borrows)


def packed_layers(keys: Collection[str], layout: Mapping[str, TensorLayout]) -> list[str]:
    """Names the layers of `layout` that `keys` hold packed tensors for, without ".weight"."""
    names = (match[1] for key in layout if (match := _PACKABLE.fullmatch(key)))
    return [name for name in names if any(f"{name}.{part}" in keys for part in _PARTS)]


def packed_layout(
    layout: Mapping[str, TensorLayout], keys: Collection[str], packing: Packing
) -> tuple[dict[str, TensorLayout], list[str]]:
    """Replaces the layers that `keys` hold packed tensors for by their packed layout.

    Args:
        layout: The layout of the float checkpoint.
        keys: The keys that the checkpoint stores.
        packing: How its layers are packed.

    Returns:
        The layout, and the layers whose shape does not fit the packing.
    """
    result = dict(layout)
    unfit = []
    for name in packed_layers(keys, layout):
        outputs, inputs = result.pop(f"{name}.weight").shape
        parts = packing.tensors(inputs, outputs)
        if not packing.divides(inputs, outputs):
            unfit.append(f"{name} [{inputs}, {outputs}]")
        if packing.method == "gptq":
            spare = {"g_idx": TensorLayout((inputs,), "i32")}
            if f"{name}.bias" not in layout:
                spare["bias"] = TensorLayout((outputs,), "f16", used=False)
            parts.update({part: what for part, what in spare.items() if f"{name}.{part}" in keys})
        result.update({f"{name}.{part}": what for part, what in parts.items()})
    return result, unfit
