"""The ECAPA-TDNN speaker encoder, which maps a reference mel to one vector.

It runs in torch at export, once per voice and once for silence, and is part of no graph.
Source: `ECAPA_TimeDelayNet` of transformers 4.57.6 (arXiv 2005.07143).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad, relu

from omnijet.export.modules.base import TensorReader
from omnijet.runtime.bundle.dims import EcapaDims

KEY = "token2wav.code2wav_dit_model.input_embed.spk_encoder"
VARIANCE_FLOOR = 1e-12


class Ecapa:
    """The speaker encoder, with weights read from the checkpoint in every call.

    Args:
        dims: The encoder's dimensions.
        weights: The checkpoint, which holds about 5 MB of encoder weights at full size.
    """

    def __init__(self, dims: EcapaDims, weights: TensorReader) -> None:
        self.dims = dims
        self._weights = weights

    def __call__(self, mel: Tensor) -> Tensor:
        """Maps mel f32[1, frames, 80] to f32[1, 128]."""
        dims = self.dims
        x = self._tdnn("blocks.0", mel.transpose(1, 2), dims.kernels[0], dims.dilations[0])
        stages = []
        for index in range(1, len(dims.channels) - 1):
            x = self._res2net(f"blocks.{index}", x, dims.kernels[index], dims.dilations[index])
            stages.append(x)
        x = self._tdnn("mfa", torch.cat(stages, dim=1), dims.kernels[-1], dims.dilations[-1])
        return self._conv("fc", self._statistics("asp", x), 1, 1).squeeze(-1)

    def _conv(self, name: str, x: Tensor, kernel: int, dilation: int) -> Tensor:
        """Convolves and keeps the length: the input is reflected at both ends."""
        side = dilation * (kernel - 1) // 2
        weight = self._weights.tensor(f"{KEY}.{name}.weight").float()
        bias = self._weights.tensor(f"{KEY}.{name}.bias").float()
        return conv1d(pad(x, (side, side), mode="reflect"), weight, bias, dilation=dilation)

    def _tdnn(self, name: str, x: Tensor, kernel: int, dilation: int) -> Tensor:
        return relu(self._conv(f"{name}.conv", x, kernel, dilation))

    def _res2net(self, name: str, x: Tensor, kernel: int, dilation: int) -> Tensor:
        y = self._tdnn(f"{name}.tdnn1", x, 1, 1)
        scale = self.dims.res2net_scale
        parts: list[Tensor] = []
        for index, part in enumerate(torch.chunk(y, scale, dim=1)):
            if index == 0:
                parts.append(part)
                continue
            part = part if index == 1 else part + parts[-1]
            block = f"{name}.res2net_block.blocks.{index - 1}"
            parts.append(self._tdnn(block, part, kernel, dilation))
        y = self._tdnn(f"{name}.tdnn2", torch.cat(parts, dim=1), 1, 1)
        squeezed = y.mean(dim=2, keepdim=True)
        squeezed = relu(self._conv(f"{name}.se_block.conv1", squeezed, 1, 1))
        return y * torch.sigmoid(self._conv(f"{name}.se_block.conv2", squeezed, 1, 1)) + x

    def _statistics(self, name: str, x: Tensor) -> Tensor:
        """Pools mean and deviation over time with attention.

        Maps [1, channels, frames] to [1, 2 * channels, 1].
        """
        even = torch.full_like(x[:, :1], 1 / x.shape[2])
        mean, deviation = _moments(x, even)
        wide = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        attention = torch.tanh(self._tdnn(f"{name}.tdnn", wide, 1, 1))
        attention = torch.softmax(self._conv(f"{name}.conv", attention, 1, 1), dim=2)
        return torch.cat(_moments(x, attention), dim=1)


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Computes weighted mean and population deviation over time, [1, channels, 1] each."""
    mean = (weight * x).sum(dim=2, keepdim=True)
    variance = (weight * (x - mean).pow(2)).sum(dim=2, keepdim=True)
    return mean, variance.clamp(VARIANCE_FLOOR).sqrt()
