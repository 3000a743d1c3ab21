"""The stage in which the vocoder (BigVGAN) learns the two voices from their mel spectrograms.

    python -m omnijet.nano.training.vocoder

The losses are spectral convergence and log magnitude of STFTs at several resolutions (Yamamoto
et al. 2020, Parallel WaveGAN), and the distance of the mel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel

from omnijet.nano.config import config
from omnijet.nano.training.reply_speech import Spoken, spoken_replies
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.world.speech_mel import BANDS, FLOOR, HOP, N_FFT, SPEECH_RATE_HZ
from omnijet.runtime.media.log_mel import mel_filters

PLAN = Plan("vocoder", steps=3000, rate=2e-3, warmup=100, clip=5.0)
BATCH, FRAMES = 8, 32
RESOLUTIONS = ((2048, 240), (1024, 120), (512, 60), (256, 30))
MEL_WEIGHT = 2.0


def new_vocoder() -> Qwen2_5OmniToken2WavBigVGANModel:
    """Returns an untrained vocoder with weights so small that its first sound is quiet."""
    torch.manual_seed(0)
    net_config = config()["token2wav_config"]["bigvgan_config"]
    net = Qwen2_5OmniToken2WavBigVGANModel(Qwen2_5OmniBigVGANConfig(**net_config))
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            fan = (
                layer.weight[0].numel()
                if isinstance(layer, nn.Conv1d)
                else (layer.in_channels * layer.kernel_size[0] / layer.stride[0])
            )
            nn.init.normal_(layer.weight, std=0.6 / fan**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


class SpectralLoss(nn.Module):
    """The distance of two batches of waves f32[batch, samples]."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        for size, _ in (*RESOLUTIONS, (N_FFT, HOP)):
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
        filters = torch.from_numpy(np.array(mel_filters(BANDS, N_FFT, SPEECH_RATE_HZ))).float()
        self.register_buffer("filters", filters, persistent=False)

    def magnitude(self, wave: Tensor, size: int, hop: int) -> Tensor:
        window = getattr(self, f"window_{size}")
        spectrum = torch.stft(wave, size, hop, window=window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(1e-9).sqrt()

    def forward(self, made: Tensor, wanted: Tensor) -> Tensor:
        total = torch.zeros(())
        for size, hop in RESOLUTIONS:
            ours, theirs = self.magnitude(made, size, hop), self.magnitude(wanted, size, hop)
            total = total + (ours - theirs).norm() / theirs.norm()
            total = total + l1_loss(ours.clamp_min(1e-3).log(), theirs.clamp_min(1e-3).log())
        return total / len(RESOLUTIONS) + MEL_WEIGHT * self.mel_distance(made, wanted)

    def mel_distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        return l1_loss(self._mel(made), self._mel(wanted))

    def _mel(self, wave: Tensor) -> Tensor:
        magnitude = self.magnitude(wave, N_FFT, HOP)
        return (self.filters @ magnitude).clamp_min(FLOOR).log()


def crops(replies: list[Spoken], number: int) -> tuple[Tensor, Tensor]:
    """Draws a batch of mel f32[batch, 80, frames] and wave f32[batch, samples] from replies."""
    rng = np.random.default_rng((3, number))
    mels, waves = [], []
    for index in rng.integers(len(replies), size=BATCH):
        reply = replies[index]
        start = int(rng.integers(0, max(1, len(reply.mel) - FRAMES)))
        mels.append(reply.mel[start : start + FRAMES].T)
        waves.append(reply.wave[start * HOP : (start + FRAMES) * HOP])
    return torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(waves))


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    replies = [reply for reply in spoken_replies(args.folder) if len(reply.mel) > FRAMES]
    net, distance = new_vocoder(), SpectralLoss()

    def step(number: int) -> Losses:
        mel, wave = crops(replies, number)
        made = net(mel)
        return {"loss": distance(made, wave), "mel": distance.mel_distance(made, wave).detach()}

    train(PLAN, args.folder, net, step)


if __name__ == "__main__":
    main()
