"""Decoders and figures that others published, to try the planner's arithmetic on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from omnijet.deployment.planner.model import Model
from omnijet.runtime.bundle.dims import DecoderDims, ModelDims


def _qwen(
    hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, vocab: int = 151_936
) -> DecoderDims:
    """Returns a decoder of the Qwen family, whose heads have 128 features."""
    return DecoderDims(
        hidden, layers, heads, kv_heads, 128, ffn, vocab, hidden, 1e6, (24, 20, 20), 1e-6, 32_768
    )


PUBLISHED: Mapping[str, DecoderDims] = {
    "qwen3-1.7b": _qwen(2048, 28, 16, 8, 6144),
    "qwen3-4b": _qwen(2560, 36, 32, 8, 9728),
    "qwen3-8b": _qwen(4096, 36, 32, 8, 12_288),
    "qwen2.5-7b": _qwen(3584, 28, 28, 4, 18_944, 152_064),
}
"""Source: their `config.json`."""


def published_dims(name: str) -> ModelDims:
    """Returns the dimensions of a published decoder, in place of the 3B's Thinker."""
    return replace(Model.named("3b").dims, thinker=PUBLISHED[name])


@dataclass(frozen=True, slots=True)
class Decoded:
    """A published rate of decoding, one sequence, INT4 weights and a head in f16.

    Attributes:
        target: the machine's name among ours.
    """

    model: str
    target: str
    tokens_per_s: float


EDGE_LLM = (
    Decoded("qwen3-1.7b", "agx-orin-64-jp72", 98.6),
    Decoded("qwen3-4b", "agx-orin-64-jp72", 53.1),
    Decoded("qwen3-8b", "agx-orin-64-jp72", 32.5),
    Decoded("qwen3-1.7b", "orin-nx-jp72", 60.4),
    Decoded("qwen3-4b", "orin-nx-jp72", 31.6),
    Decoded("qwen3-8b", "orin-nx-jp72", 19.0),
    Decoded("qwen3-4b", "thor-jp72", 79.6),
    Decoded("qwen3-8b", "thor-jp72", 49.3),
)
"""NVIDIA, TensorRT-Edge-LLM 0.9, performance page: INT4 AWQ, JetPack 7.2. It has 37.4 for the 1.7B
on an Orin Nano 8 GB, too, which is what 68 GB/s allow and not the 102 GB/s of its Super mode."""


@dataclass(frozen=True, slots=True)
class Phone:
    """Rates of MNN on the CPU of a phone, tokens a second: Thinkers of 3B and 7B in 4 bits.

    Attributes:
        gb_s: peak bandwidth of its memory (LPDDR5-6400 and LPDDR5X-10667, 64 bits).
    """

    name: str
    gb_s: float
    small: float
    large: float


PHONES = (
    Phone("Snapdragon 8 Gen 1", 51.2, 15.8, 8.35),
    Phone("Snapdragon 8 Elite", 85.3, 23.3, 11.5),
)
"""MNN's table of Qwen2.5-Omni on phones."""
