"""Reads the token2wav part of a configuration: DiT, speaker encoder and vocoder.

Keys and defaults are those of `Qwen2_5OmniDiTConfig` and `Qwen2_5OmniBigVGANConfig` upstream.
"""

from __future__ import annotations

import logging
from typing import Any

from omnijet.export.checkpoint.config_section import (
    MOST,
    MOST_LAYERS,
    MOST_WINDOW,
    Section,
    is_integer,
)
from omnijet.runtime.bundle.dims import DitDims, EcapaDims, VocoderDims

_log = logging.getLogger(__name__)


def read_dit(section: Section) -> DitDims:
    """Reads the dimensions of the flow-matching transformer."""
    dims = DitDims(
        hidden=section.integer("hidden_size", default=1024),
        layers=section.layers("num_hidden_layers", default=22),
        heads=section.integer("num_attention_heads", default=16),
        head_dim=section.integer("head_dim", default=64),
        ff_mult=section.integer("ff_mult", default=2),
        mel=section.integer("mel_dim", default=80),
        codec_embed=section.integer("emb_dim", default=512),
        codec_rows=section.integer("num_embeds", default=8193) + 1,
        repeats=section.integer("repeats", default=2, most=64),
        block=section.integer("block_size", default=24, most=MOST_WINDOW),
        look_ahead_layers=section.integers("look_ahead_layers", (10,), least=0),
        look_back_layers=section.integers("look_backward_layers", (0, 20), least=0),
        speaker_cond=section.integer("enc_emb_dim", default=192),
        speaker_embed=section.integer("enc_dim", default=128),
    )
    section.require(dims.head_dim % 2 == 0, "head_dim", "an even number", dims.head_dim)
    fits = f"a multiple of repeats {dims.repeats}"
    section.require(dims.block % dims.repeats == 0, "block_size", fits, dims.block)
    rope = section.child("rope_parameters")  # as transformers 5 writes it
    rope.only("rope_type", ("default",))
    rope.only("rope_theta", (10_000,))
    # the reference ignores these older names, so only a contradiction is worth a warning
    for legacy, value in (("dim", dims.hidden), ("depth", dims.layers), ("heads", dims.heads)):
        if section.raw(legacy) not in (None, value):
            _log.warning("%s.%s is not used; the model has %d", section.path, legacy, value)
    return dims


def read_ecapa(section: Section) -> EcapaDims:
    """Reads the dimensions of the speaker encoder, which is part of the DiT's input."""
    dims = EcapaDims(
        mel=section.integer("mel_dim", default=80),
        channels=section.integers("enc_channels", (256, 256, 256, 256, 768)),
        kernels=section.integers("enc_kernel_sizes", (5, 3, 3, 3, 1)),
        dilations=section.integers("enc_dilations", (1, 2, 3, 4, 1)),
        attention_channels=section.integer("enc_attention_channels", default=64),
        res2net_scale=section.integer("enc_res2net_scale", default=2, least=2),
        se_channels=section.integer("enc_se_channels", default=64),
        out=section.integer("enc_dim", default=128),
    )
    lengths = len(dims.channels), len(dims.kernels), len(dims.dilations)
    section.require(
        min(lengths) == max(lengths) >= 3,
        "enc_channels",
        "at least 3 entries, as many as enc_kernel_sizes and enc_dilations",
        lengths,
    )
    *blocks, joined = dims.channels or (0,)
    # each block adds its input to its output, and the outputs of all but the first are joined
    section.require(len(set(blocks)) == 1, "enc_channels", "equal widths before the last", blocks)
    total = sum(blocks[1:])
    section.require(joined == total, "enc_channels", f"a last width of {total}", joined)
    fits = f"widths divisible by enc_res2net_scale {dims.res2net_scale}"
    section.require(
        all(width % dims.res2net_scale == 0 for width in blocks), "enc_channels", fits, blocks
    )
    return dims


def read_vocoder(section: Section) -> VocoderDims:
    """Reads the dimensions of the vocoder, a BigVGAN."""
    dilations = section.raw("resblock_dilation_sizes")
    if dilations is None:
        dilations = [[1, 3, 5]] * 3
    dilation_rows = _rows(dilations)
    if dilation_rows is None:
        section.fault("resblock_dilation_sizes", "a list of lists of whole numbers", dilations)
        dilation_rows = ((1, 3, 5),) * 3
    dims = VocoderDims(
        mel=section.integer("mel_dim", default=80),
        channels=section.integer("upsample_initial_channel", default=1536),
        resblock_kernels=section.integers("resblock_kernel_sizes", (3, 7, 11)),
        resblock_dilations=dilation_rows,
        rates=section.integers("upsample_rates", (5, 3, 2, 2, 2, 2)),
        kernels=section.integers("upsample_kernel_sizes", (11, 7, 4, 4, 4, 4)),
    )
    kernels = dims.resblock_kernels
    odd = all(kernel % 2 for kernel in kernels)
    section.require(bool(kernels) and odd, "resblock_kernel_sizes", "odd sizes", kernels)
    threes = len(dilation_rows) == len(kernels) and all(
        len(row) == 3 and min(row) >= 1 for row in dilation_rows
    )
    fits = f"3 dilations for each of {len(kernels)} resblock_kernel_sizes"
    section.require(threes, "resblock_dilation_sizes", fits, dilations)
    # a stage must multiply the length of its input by exactly its rate
    exact = len(dims.kernels) == len(dims.rates) > 0 and all(
        kernel >= rate and (kernel - rate) % 2 == 0
        for kernel, rate in zip(dims.kernels, dims.rates, strict=True)
    )
    fits = f"a size rate + 2 n for each of upsample_rates {list(dims.rates)}"
    section.require(exact, "upsample_kernel_sizes", fits, list(dims.kernels))
    parts = 2 ** min(len(dims.rates), 64)  # no width is a multiple of more
    fits = f"a multiple of 2**stages = {parts}"
    section.require(dims.channels % parts == 0, "upsample_initial_channel", fits, dims.channels)
    return dims


def _rows(value: Any) -> tuple[tuple[int, ...], ...] | None:
    """Returns lists of whole numbers; None if they are none, or too many."""
    if not isinstance(value, list | tuple) or len(value) > MOST_LAYERS:
        return None
    for row in value:
        if not isinstance(row, list | tuple) or len(row) > MOST_LAYERS:
            return None
        if not all(is_integer(number, 0, MOST) for number in row):
            return None
    return tuple(tuple(int(number) for number in row) for row in value)
