"""The stage in which the DiT learns to generate mel from codes in two voices.

    python -m omnijet.nano.training.dit

It is flow matching from noise at t = 0 to mel at t = 1 along straight lines (Lipman et al.
2022). Codes and speaker are sometimes dropped together, for classifier-free guidance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniDiTConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavDiTModel

from omnijet.nano.config import VOICES, config
from omnijet.nano.training.codec import Codec
from omnijet.nano.training.reply_speech import Spoken, spoken_replies
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.runtime.bundle.contract import Array

PLAN = Plan("dit", steps=4000, rate=1.5e-3, warmup=200)
BATCH = 16
DROPPED = 0.15
REF_MEL_FRAMES = 400
SPEAKER_WIDTH = 192


def new_dit() -> Qwen2_5OmniToken2WavDiTModel:
    """Returns an untrained DiT; zero modulations make every block start as the identity."""
    torch.manual_seed(4)
    net_config = Qwen2_5OmniDiTConfig(**config()["token2wav_config"]["dit_config"])
    net_config.dropout = 0.0
    net_config._attn_implementation = "sdpa"
    net = Qwen2_5OmniToken2WavDiTModel(net_config)
    for block in net.transformer_blocks:
        nn.init.zeros_(block.attn_norm.linear.weight)
        nn.init.zeros_(block.attn_norm.linear.bias)
    for layer in (net.norm_out.linear, net.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.normal_(net.text_embed.codec_embed.weight, std=1.0)
    return net


def voice_conditions(replies: list[Spoken]) -> dict[str, tuple[Array, Array]]:
    """Returns each voice's condition f32[192], random by seed, and reference mel f32[400, 80]."""
    made = {}
    for number, name in enumerate(VOICES):
        mels = [reply.mel for reply in replies if reply.voice == name][:12]
        cond = np.random.default_rng((5, number)).standard_normal(SPEAKER_WIDTH)
        made[name] = (cond.astype(np.float32), np.concatenate(mels)[:REF_MEL_FRAMES])
    return made


class Batches:
    """Random batches of replies of similar length with their codes and speakers."""

    def __init__(self, folder: Path) -> None:
        replies = spoken_replies(folder)
        codec = Codec.load(folder / "codec.npz")
        self.replies = sorted(replies, key=lambda reply: len(reply.mel))
        self.codes = [codec.encode(reply.mel, reply.voice) for reply in self.replies]
        self.names = list(VOICES)
        known = voice_conditions(replies)
        silence = (np.zeros(SPEAKER_WIDTH), np.zeros((REF_MEL_FRAMES, 80)))
        rows = [*(known[name] for name in self.names), silence]
        self.conds = torch.tensor(np.stack([cond for cond, _ in rows])).float()
        self.ref_mels = torch.tensor(np.stack([mel for _, mel in rows])).float()

    def draw(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draws the batch of a step.

        Returns:
            Mel f32[batch, frames, 80], codes i64[batch, frames / 2], the number of frames and
            the voice of each reply; the last voice stands for a dropped condition.
        """
        rng = np.random.default_rng((4, number))
        first = int(rng.integers(len(self.replies) - BATCH))
        chosen = range(first, first + BATCH)
        lengths = [len(self.replies[index].mel) for index in chosen]
        mels, codes = torch.zeros(BATCH, max(lengths), 80), torch.zeros(BATCH, max(lengths) // 2)
        speakers = []
        for row, index in enumerate(chosen):
            mels[row, : lengths[row]] = torch.from_numpy(self.replies[index].mel)
            dropped = rng.random() < DROPPED
            speakers.append(
                len(self.names) if dropped else self.names.index(self.replies[index].voice)
            )
            if not dropped:
                codes[row, : lengths[row] // 2] = torch.from_numpy(self.codes[index])
        return mels, codes.long(), torch.tensor(lengths), torch.tensor(speakers)


def velocity(
    net: Qwen2_5OmniToken2WavDiTModel,
    x: Tensor,
    time: Tensor,
    codes: Tensor,
    frames: Tensor,
    conds: Tensor,
    speakers: Tensor,
) -> Tensor:
    """Runs the reference's forward pass over replies of different length.

    Args:
        net: The DiT.
        x: f32[batch, frames, 80], the noisy mel.
        time: f32[batch], the time of each reply.
        codes: i64[batch, frames / 2].
        frames: i64[batch], the number of frames of each reply.
        conds: f32[batch, 192], the speaker conditions.
        speakers: f32[batch, ecapa], the speaker encoder's outputs for the reference mels.

    Returns:
        The velocity f32[batch, frames, 80].
    """
    when = net.time_embed(time)
    wide = x.shape[1]
    parts = (
        x, speakers[:, None].expand(-1, wide, -1), net.text_embed(codes),
        conds[:, None].expand(-1, wide, -1),
    )  # fmt: skip
    hidden = net.input_embed.proj(torch.cat(parts, -1))
    turns = net.rotary_embed(hidden)
    apart = net._create_block_diff(hidden).clone()
    foreign = torch.arange(wide)[None, :] >= frames[:, None]
    own = torch.eye(wide, dtype=torch.bool)
    apart[foreign[:, None, None, :].expand_as(apart) & ~own] = 99
    for block in net.transformer_blocks:
        hidden = block(hidden, when, position_embeddings=turns, block_diff=apart)
    flow: Tensor = net.proj_out(net.norm_out(hidden, when))
    return flow


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    net, batches = new_dit(), Batches(args.folder)

    def step(number: int) -> Losses:
        mels, codes, frames, speakers = batches.draw(number)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(mels.shape, generator=generator)
        time = torch.rand(BATCH, generator=generator)
        x = noise + time[:, None, None] * (mels - noise)
        views = net.input_embed.spk_encoder(batches.ref_mels)
        made = velocity(net, x, time, codes, frames, batches.conds[speakers], views[speakers])
        real = (torch.arange(mels.shape[1])[None, :] < frames[:, None])[..., None]
        error = ((made - (mels - noise)).square() * real).sum((1, 2)) / (frames * 80)
        conditioned = speakers < len(batches.names)
        return {"loss": error.mean(), "conditioned": error[conditioned].mean().detach()}

    train(PLAN, args.folder, net, step)


if __name__ == "__main__":
    main()
