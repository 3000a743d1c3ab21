"""Computes the constant parts of the DiT at export, as tables that the runtime maps.

Source: `Qwen2_5OmniToken2WavDiTModel` of transformers 4.57.6. The input projection reads
[noisy mel | speaker embedding | code embedding | speaker condition]; only the noisy mel
changes while the equation is solved.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from omnijet.export.checkpoint.voices import Voice
from omnijet.export.modules.base import TensorReader
from omnijet.export.modules.dit import KEY
from omnijet.export.modules.ecapa import Ecapa
from omnijet.runtime.bundle.dims import DitDims, ModelDims
from omnijet.runtime.speech.solver import evaluation_times

TIME_WIDTH = 256  # width of the sinusoids that the time MLP reads
TIME_SCALE = 1000.0
MAX_PERIOD = 10_000.0
ROTARY_BASE = 10_000

_log = logging.getLogger(__name__)


class SpeechReader(TensorReader, Protocol):
    """A checkpoint that knows which tensors it has."""

    def keys(self) -> Collection[str]: ...


def speech_tables(
    dims: ModelDims, weights: SpeechReader, voices: Mapping[str, Voice]
) -> dict[str, npt.NDArray[Any]]:
    """Computes all speech tables.

    Args:
        dims: The model's dimensions.
        weights: The checkpoint.
        voices: The speakers by name.

    Returns:
        The tables by name:

        - dit_codec: f32[codec rows, hidden], each codec token's share of the projection.
        - voice_NAME: f32[hidden], a speaker's share of the projection, bias included.
        - no_voice: f32[hidden], the same for the unconditional branch of guidance.
        - dit_times: f32[points], the times at which the solver evaluates the DiT.
        - dit_modulation: f32[points, layers, 6, hidden], AdaLN vectors of every layer.
        - dit_modulation_out: f32[points, 2, hidden], AdaLN vectors of the last norm.
        - dit_inv_freq: f32[head_dim / 2], rotary frequencies as stored in the checkpoint.
    """
    dit = dims.dit
    projection = _Projection(dit, weights)
    codec = weights.tensor(f"{KEY}.text_embed.codec_embed.weight").float()
    times = evaluation_times()
    modulation, modulation_out = _modulation(dit, weights, torch.from_numpy(times))
    tables = {
        "dit_codec": linear(codec, projection.codec),
        "dit_modulation": modulation,
        "dit_modulation_out": modulation_out,
        "dit_inv_freq": _inv_freq(dit, weights),
    }
    ecapa = Ecapa(dims.ecapa, weights)
    some = next(iter(voices.values()))
    silence = torch.zeros_like(some.ref_mel)
    tables["no_voice"] = projection.speaker(ecapa(silence), torch.zeros_like(some.cond))
    for name, voice in voices.items():
        tables[f"voice_{name}"] = projection.speaker(ecapa(voice.ref_mel), voice.cond)
    return {"dit_times": times, **{name: table.numpy() for name, table in tables.items()}}


class _Projection:
    """The constant columns of the input projection."""

    def __init__(self, dims: DitDims, weights: TensorReader) -> None:
        weight = weights.tensor(f"{KEY}.input_embed.proj.weight").float()
        self.bias = weights.tensor(f"{KEY}.input_embed.proj.bias").float()
        widths = [dims.mel, dims.speaker_embed, dims.codec_embed, dims.speaker_cond]
        _, self.embed, self.codec, self.cond = torch.split(weight, widths, dim=1)

    def speaker(self, embed: Tensor, cond: Tensor) -> Tensor:
        """Projects embed f32[1, 128] and cond f32[1, 192] to f32[hidden]."""
        share = linear(embed, self.embed) + linear(cond, self.cond) + self.bias
        return share[0]


def _modulation(dims: DitDims, weights: TensorReader, times: Tensor) -> tuple[Tensor, Tensor]:
    def dense(name: str, x: Tensor) -> Tensor:
        weight = weights.tensor(f"{KEY}.{name}.weight").float()
        return linear(x, weight, weights.tensor(f"{KEY}.{name}.bias").float())

    embedded = dense("time_embed.time_mlp.2", silu(dense("time_embed.time_mlp.0", _waves(times))))
    active = silu(embedded)
    layers = torch.empty(len(times), dims.layers, 6, dims.hidden)
    for index in range(dims.layers):
        vectors = dense(f"transformer_blocks.{index}.attn_norm.linear", active)
        layers[:, index] = vectors.reshape(-1, 6, dims.hidden)
    return layers, dense("norm_out.linear", active).reshape(-1, 2, dims.hidden)


def _waves(times: Tensor) -> Tensor:
    """Computes the sinusoids of times in [0, 1]: f32[points, 256]."""
    half = TIME_WIDTH // 2
    step = math.log(MAX_PERIOD) / (half - 1)
    rates = torch.exp(torch.arange(half).float() * -step)
    angles = TIME_SCALE * times.unsqueeze(1) * rates.unsqueeze(0)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _inv_freq(dit: DitDims, weights: SpeechReader) -> Tensor:
    """Returns the rotary frequencies: those of the checkpoint, by formula if it has none.

    The published values are rounded to bfloat16; at frame 127 the difference is 5e-2 in cos.
    transformers 5 does not save them, and computes them as it is done here.
    """
    key = f"{KEY}.rotary_embed.inv_freq"
    if key in weights.keys():  # noqa: SIM118 (a reader is no mapping)
        return weights.tensor(key).float()
    _log.warning(
        "the checkpoint lacks the rotary frequencies of the DiT, as transformers 5 saves it: "
        "they are computed; --base takes those of the published model"
    )
    steps = torch.arange(0, dit.head_dim, 2).float() / dit.head_dim
    return 1.0 / (ROTARY_BASE**steps)
