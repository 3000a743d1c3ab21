"""The layers of a model that recipes know, and the floats beside them, from its dimensions alone.

Names, shapes and types are those of `omnijet.export.modules`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.quantization.layers import Layer
from omnijet.quantization.schemes import Half
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    ModelDims,
    VisionEncoderDims,
    VocoderDims,
)

HALVES: Mapping[str, Half] = {"f32": None, "f16": "f16", "bf16": "bf16"}
RESAMPLING = 4 * 7
"""Numbers of the vocoder's resampling filters: two phases of seven taps up, and two down."""


def layers_of(dims: ModelDims, precision: Precision) -> list[Layer]:
    """Returns every product with a weight, in the order of the graphs.

    Args:
        precision: of the float bundle.
    """
    half = HALVES[precision]
    layers = [*_audio(dims.audio, half), *_vision(dims.vision, half)]
    layers += _decoder("thinker_step", dims.thinker, half)
    if dims.speech is not None:
        layers += _decoder("talker_step", dims.speech.talker, half)
        layers += _dit(dims.speech.dit)
    return layers


def _layer(graph: str, name: str, inputs: int, outputs: int, half: Half) -> Layer:
    return Layer(graph, f"{name}.weight", f"{name}.input", inputs, outputs, half)


def _audio(dims: AudioEncoderDims, half: Half) -> list[Layer]:
    graph, width = "audio_encoder", dims.hidden
    found = []
    for index in range(dims.layers):
        shapes = {name: (width, width) for name in ("q", "k", "v", "output")}
        shapes |= {"up": (width, dims.ffn), "down": (dims.ffn, width)}
        found += [_layer(graph, f"layers.{index}.{n}", *s, half) for n, s in shapes.items()]
    return [*found, _layer(graph, "projection", width, dims.out, half)]


def _vision(dims: VisionEncoderDims, half: Half) -> list[Layer]:
    graph, width, merged = "vision_encoder", dims.hidden, dims.hidden * dims.cell_patches
    found = [_layer(graph, "patch_embed", dims.patch_width, width, half)]
    for index in range(dims.layers):
        shapes = {
            "qkv": (width, 3 * width), "output": (width, width),
            "gate_up": (width, 2 * dims.ffn), "down": (dims.ffn, width),
        }  # fmt: skip
        found += [_layer(graph, f"blocks.{index}.{n}", *s, half) for n, s in shapes.items()]
    found.append(_layer(graph, "merge_up", merged, merged, half))
    return [*found, _layer(graph, "merge_down", merged, dims.out, half)]


def _decoder(graph: str, dims: DecoderDims, half: Half) -> list[Layer]:
    inner, rest = dims.heads * dims.head_dim, 2 * dims.kv_heads * dims.head_dim
    found = []
    if graph == "talker_step":
        found.append(_layer(graph, "projection", dims.embed_width, dims.hidden, half))
    for index in range(dims.layers):
        shapes = {
            "qkv": (dims.hidden, inner + rest), "output": (inner, dims.hidden),
            "gate_up": (dims.hidden, 2 * dims.ffn), "down": (dims.ffn, dims.hidden),
        }  # fmt: skip
        found += [_layer(graph, f"decoder.layers.{index}.{n}", *s, half) for n, s in shapes.items()]
    return [*found, _layer(graph, "head", dims.hidden, dims.vocab, half)]


def _dit(dims: DitDims) -> list[Layer]:
    graph, inner, ffn = "dit_step", dims.heads * dims.head_dim, dims.hidden * dims.ff_mult
    half = HALVES[dims.products]
    found = [_layer(graph, "input", dims.mel, dims.hidden, None)]
    for index in range(dims.layers):
        shapes = {
            "qkv": (dims.hidden, 3 * inner), "output": (inner, dims.hidden),
            "up": (dims.hidden, ffn), "down": (ffn, dims.hidden),
        }  # fmt: skip
        found += [_layer(graph, f"blocks.{index}.{n}", *s, half) for n, s in shapes.items()]
    return [*found, _layer(graph, "output", dims.hidden, dims.mel, None)]


def other_floats(dims: ModelDims, precision: Precision) -> dict[str, tuple[int, int]]:
    """Returns the numbers of a graph that are no layer: f32 ones, and ones of the precision.

    They are norms, biases and convolutions. The vocoder is nothing else.
    """
    found = {
        "audio_encoder": _audio_rest(dims.audio),
        "vision_encoder": (_vision_rest(dims.vision), 0),
        "thinker_step": (_decoder_rest(dims.thinker), 0),
    }
    if dims.speech is not None:
        talker = dims.speech.talker
        found |= {
            "talker_step": (_decoder_rest(talker) + talker.hidden, 0),
            "dit_step": (_dit_rest(dims.speech.dit), 0),
            "vocoder": (_vocoder_rest(dims.speech.vocoder), 0),
        }
    if precision == "f32":
        return {graph: (wide + narrow, 0) for graph, (wide, narrow) in found.items()}
    return found


def _audio_rest(dims: AudioEncoderDims) -> tuple[int, int]:
    width = dims.hidden
    norms_and_biases = dims.layers * (4 * width + 4 * width + dims.ffn) + 2 * width + dims.out
    positions = dims.chunk_positions * width
    return norms_and_biases + 2 * width + positions, 3 * width * (dims.n_mels + width)


def _vision_rest(dims: VisionEncoderDims) -> int:
    width = dims.hidden
    merger = width + width * dims.cell_patches + dims.out
    return dims.layers * (2 * width + 5 * width + 2 * dims.ffn) + merger


def _decoder_rest(dims: DecoderDims) -> int:
    biases = (dims.heads + 2 * dims.kv_heads) * dims.head_dim
    return dims.layers * (2 * dims.hidden + biases) + dims.hidden


def _dit_rest(dims: DitDims) -> int:
    inner = dims.heads * dims.head_dim
    return dims.layers * (3 * inner + dims.hidden * (2 + dims.ff_mult)) + dims.mel


def _vocoder_rest(dims: VocoderDims) -> int:
    width = dims.channels
    total = 7 * dims.mel * width + width + RESAMPLING
    for kernel in dims.kernels:
        total += width * (width // 2) * kernel + width // 2
        width //= 2
        for size, dilations in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True):
            # pairs of convolutions with a bias, each behind an activation of two numbers
            total += 2 * len(dilations) * (width * width * size + width + 2 * width)
    return total + 2 * width + 7 * width
