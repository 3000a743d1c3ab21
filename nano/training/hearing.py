"""The stage in which the audio encoder learns to hear words, beeps and knocks.

    python -m omnijet.nano.training.hearing

The loss is connectionist temporal classification (Graves et al. 2006) over words. Its small
head is discarded, as the Thinker reads the output of the encoder.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, gelu
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

from omnijet.nano.config import config
from omnijet.nano.training.banks import heard_bank
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.training.towers import encode_sounds, log_mels
from omnijet.nano.world.bank import Bank
from omnijet.nano.world.clips import soundtrack
from omnijet.nano.world.sounds import add_noise
from omnijet.nano.world.speech import RATE_HZ
from omnijet.nano.world.words import BEEP, KNOCK, WORDS
from omnijet.runtime.bundle.contract import Array

PLAN = Plan("hearing", steps=2600, rate=2e-3, warmup=150)
BATCH = 20
LABELS = (*WORDS, BEEP, KNOCK)  # class numbers start at 1; 0 is the blank
LONGEST_SECONDS = 6.0


class Listener(nn.Module):
    """The audio encoder with a head that labels what it hears."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        net_config = Qwen2_5OmniAudioEncoderConfig(**config()["thinker_config"]["audio_config"])
        net_config._attn_implementation = "sdpa"
        self.tower = Qwen2_5OmniAudioEncoder(net_config)
        self.context = nn.Conv1d(net_config.output_dim, net_config.output_dim, 9, padding=4)
        self.head = nn.Linear(net_config.output_dim, len(LABELS) + 1)

    def forward(self, mels: Tensor, lengths: list[int]) -> tuple[Tensor, list[int]]:
        features, counts = encode_sounds(self.tower, mels, lengths)
        x = gelu(self.context(features.transpose(1, 2))).transpose(1, 2) + features
        return self.head(x).log_softmax(-1), counts


def draw(bank: Bank, rng: np.random.Generator) -> tuple[Array, list[str]]:
    """Draws a sound and its labels in order."""
    if rng.random() < 0.12:
        seconds = int(rng.integers(3, 6))
        track, events = soundtrack(seconds, rng)
        return track, events
    index = int(rng.integers(len(bank)))
    parts, words = [bank.sound(index)], bank.texts[index].split()
    if rng.random() < 0.25:
        other = int(rng.integers(len(bank)))
        parts.append(bank.sound(other))
        words += bank.texts[other].split()
    silence = np.zeros(int(rng.uniform(0, 0.5) * RATE_HZ), np.float32)
    sound = np.concatenate([silence, *parts])
    if len(sound) > LONGEST_SECONDS * RATE_HZ:
        return draw(bank, rng)
    return add_noise(sound, rng), words


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    bank, net = heard_bank(args.folder), Listener()
    ids = {word: number for number, word in enumerate(LABELS, start=1)}

    def step(number: int) -> Losses:
        rng = np.random.default_rng((1, number))
        drawn = [draw(bank, rng) for _ in range(BATCH)]
        mels, lengths = log_mels([sound for sound, _ in drawn])
        logs, counts = net(mels, lengths)
        targets = [torch.tensor([ids[word] for word in words]) for _, words in drawn]
        sizes = torch.tensor([len(words) for _, words in drawn])
        loss = ctc_loss(
            logs.transpose(0, 1), torch.cat(targets), torch.tensor(counts), sizes,
            zero_infinity=True,
        )  # fmt: skip
        right = [
            spelled(row[:count]) == target.tolist()
            for row, count, target in zip(logs.argmax(-1), counts, targets, strict=True)
        ]
        return {"loss": loss, "exact": torch.tensor(right).float().mean()}

    train(PLAN, args.folder, net, step)


def spelled(best: Tensor) -> list[int]:
    """Removes repeats and blanks from a best path."""
    kept = torch.unique_consecutive(best)
    return [int(label) for label in kept if label]


if __name__ == "__main__":
    main()
