"""The graph `vocoder`: BigVGAN, which turns log-mel into a 24 kHz waveform.

Source: `Qwen2_5OmniToken2WavBigVGANModel` of transformers 4.57.6. Anti-aliased activations
dominate a straightforward export; here each is two small convolutions. Signals are
[1, channels, 1, samples]: ONNX Runtime has its blocked kernels, which need no im2col, for two
dimensions only, and TensorRT turns one dimension into two by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from omnijet.export.modules import ops
from omnijet.export.modules.base import Source, Sourced
from omnijet.runtime.bundle.dims import VocoderDims

KEY = "token2wav.code2wav_bigvgan_model"

# the resampling filter: a Kaiser-windowed sinc over 12 taps
TAPS = 12
CUTOFF = 0.25
HALF_WIDTH = 0.3

# the mel normalisation: decibels above a floor, scaled to [-1, 1]
FLOOR_DB = -115.0
REFERENCE_DB = 20.0


def resampling_filter() -> Tensor:
    """Computes the 12 taps, f32, for both directions; the checkpoint does not store them."""
    attenuation = 2.285 * (TAPS // 2 - 1) * math.pi * 4 * HALF_WIDTH + 7.95
    beta = 0.5842 * (attenuation - 21.0) ** 0.4 + 0.07886 * (attenuation - 21.0)
    window = np.kaiser(TAPS, beta if attenuation <= 50 else 0.1102 * (attenuation - 8.7))
    time = np.arange(-TAPS // 2, TAPS // 2) + 0.5
    taps = 2 * CUTOFF * window * np.sinc(2 * CUTOFF * time)
    return torch.from_numpy(taps / taps.sum()).float()


class Resampler(Sourced):
    """The filters, by phase, that double and halve the sample rate of all channels."""

    up: Tensor
    down: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = TAPS // 2 + 1

        def up(_: Sequence[Tensor]) -> Tensor:
            phases = torch.zeros(2, 1, taps)
            phases[0, 0, :-1] = 2 * resampling_filter()[1::2].flip(0)
            phases[1, 0, 1:] = 2 * resampling_filter()[0::2].flip(0)
            return phases

        def down(_: Sequence[Tensor]) -> Tensor:
            phases = torch.zeros(1, 2, taps)
            phases[0, 1, :-1] = resampling_filter()[0::2]
            phases[0, 0, 1:] = resampling_filter()[1::2]
            return phases

        self.add("up", (2, 1, taps), Source((), (), fold=up))
        self.add("down", (1, 2, taps), Source((), (), fold=down))


class Activation(Sourced):
    """SnakeBeta at twice the sample rate."""

    alpha: Tensor
    reciprocal_beta: Tensor

    def __init__(self, key: str, channels: int) -> None:
        super().__init__()

        def alpha(tensors: Sequence[Tensor]) -> Tensor:
            return tensors[0].exp().reshape(channels, 1, 1)

        def reciprocal(tensors: Sequence[Tensor]) -> Tensor:
            return (1 / (tensors[0].exp() + 1e-9)).reshape(channels, 1, 1)

        shape = (channels, 1, 1)
        self.add("alpha", shape, Source((f"{key}.act.alpha",), ((channels,),), fold=alpha))
        self.add(
            "reciprocal_beta", shape, Source((f"{key}.act.beta",), ((channels,),), fold=reciprocal)
        )

    def forward(self, x: Tensor, resampler: Resampler) -> Tensor:
        """Maps [1, channels, 1, samples] to the same shape."""
        y: Tensor = ops.upsampled_snake(
            x, self.alpha, self.reciprocal_beta, resampler.up, resampler.down
        )
        return y


class Conv(Sourced):
    """A convolution that keeps the length."""

    weight: Tensor

    def __init__(
        self, key: str, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.padding = dilation * (kernel - 1) // 2
        source = Source((f"{key}.weight",), ((outputs, inputs, kernel),))
        self.add("weight", (outputs, inputs, 1, kernel), source)
        self.bias: Tensor | None = None
        if bias:
            del self.bias
            self.add("bias", (outputs,), Source((f"{key}.bias",), ((outputs,),)))

    def forward(self, x: Tensor) -> Tensor:
        padding, dilation = (0, self.padding), (1, self.dilation)
        return conv2d(x, self.weight, self.bias, padding=padding, dilation=dilation)


class Upsample(Sourced):
    """A transposed convolution that multiplies the length by `rate`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, key: str, inputs: int, outputs: int, kernel: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.padding = (kernel - rate) // 2
        source = Source((f"{key}.weight",), ((inputs, outputs, kernel),))
        self.add("weight", (inputs, outputs, 1, kernel), source)
        self.add("bias", (outputs,), Source((f"{key}.bias",), ((outputs,),)))

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = (1, self.rate), (0, self.padding)
        return conv_transpose2d(x, self.weight, self.bias, stride=stride, padding=padding)


class AmpBlock(nn.Module):
    """A residual block of pairs of convolutions, each behind an anti-aliased activation."""

    def __init__(self, key: str, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.activations = nn.ModuleList(
            Activation(f"{key}.activations.{index}", channels)
            for index in range(2 * len(dilations))
        )
        self.dilated = nn.ModuleList(
            Conv(f"{key}.convs1.{index}", channels, channels, kernel, dilation)
            for index, dilation in enumerate(dilations)
        )
        self.plain = nn.ModuleList(
            Conv(f"{key}.convs2.{index}", channels, channels, kernel)
            for index in range(len(dilations))
        )

    def forward(self, x: Tensor, resampler: Resampler) -> Tensor:
        for index, (dilated, plain) in enumerate(zip(self.dilated, self.plain, strict=True)):
            y = dilated(self.activations[2 * index](x, resampler))
            y = plain(self.activations[2 * index + 1](y, resampler))
            x = x + y
        return x


class Vocoder(nn.Module):
    """The graph `vocoder`."""

    def __init__(self, dims: VocoderDims) -> None:
        super().__init__()
        self.dims = dims
        width = dims.channels
        self.resampler = Resampler()
        self.before = Conv(f"{KEY}.conv_pre", dims.mel, width, 7)
        self.upsamples = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for stage, (rate, kernel) in enumerate(zip(dims.rates, dims.kernels, strict=True)):
            self.upsamples.append(Upsample(f"{KEY}.ups.{stage}.0", width, width // 2, kernel, rate))
            width //= 2
            first = stage * len(dims.resblock_kernels)
            self.blocks.extend(
                AmpBlock(f"{KEY}.resblocks.{first + index}", width, size, dilations)
                for index, (size, dilations) in enumerate(
                    zip(dims.resblock_kernels, dims.resblock_dilations, strict=True)
                )
            )
        self.activation = Activation(f"{KEY}.activation_post", width)
        self.after = Conv(f"{KEY}.conv_post", width, 1, 7, bias=False)

    def forward(self, mel: Tensor) -> tuple[Tensor]:
        x = self.before(normalise(mel).unsqueeze(2))
        per_stage = len(self.dims.resblock_kernels)
        for stage, upsample in enumerate(self.upsamples):
            x = upsample(x)
            blocks = self.blocks[stage * per_stage : (stage + 1) * per_stage]
            first, *others = (block(x, self.resampler) for block in blocks)
            x = sum(others, start=first) / per_stage  # from the first: 0 + x is a pass over memory
        x = self.after(self.activation(x, self.resampler))
        return (x.clamp(-1, 1).flatten(1),)


def normalise(mel: Tensor) -> Tensor:
    """Converts natural-log mel to decibels above a floor of -115 dB, scaled to [-1, 1].

    One multiply-add and a clamp suffice, because the reference's floor is where the clamp
    gives -1.
    """
    decibels = 20 / math.log(10)
    scale = 2 * decibels / -FLOOR_DB
    offset = 2 * (-REFERENCE_DB - FLOOR_DB) / -FLOOR_DB - 1
    return (mel * scale + offset).clamp(-1, 1)
