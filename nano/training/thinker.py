"""The stage in which the Thinker learns to answer from the features of the trained encoders.

    python -m omnijet.nano.training.thinker

Its random embedding table stays fixed: it suffices for a world of a hundred words, and the
Talker can train on it at the same time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniTextConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerTextModel

from omnijet.nano.config import config
from omnijet.nano.training.banks import HEARD, heard_bank
from omnijet.nano.training.corpus import SYSTEM_PROMPTS
from omnijet.nano.training.features import features
from omnijet.nano.training.prompts import IGNORED, ExampleBuilder, TrainingExample, thin_clip
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.training.tokenizer import model_dims
from omnijet.nano.world.clips import random_clip
from omnijet.nano.world.skills import Item, Picture, Utterance, converse, hear, see, watch
from omnijet.nano.world.words import (
    COLOURS,
    COUNTS,
    DIGITS,
    SEE,
    SHAPES,
    WATCH,
    scene,
    watch_answer,
)

PLAN = Plan("thinker", steps=4700, rate=1.5e-3, warmup=200)
BATCH = 28
CLIP_STEPS = 5  # every fifth step trains on clips
WHOLE_CLIPS_FROM = 0.75  # share of the steps; earlier steps drop cells of clips at random
KEPT = 0.1  # smallest share of a clip's picture cells
ROWS = 2200  # rows of a batch of clips


def embedding() -> nn.Embedding:
    """Returns the frozen embedding table f32[vocab, hidden]."""
    dims = model_dims().thinker
    generator = torch.Generator().manual_seed(6)
    rows = torch.randn(dims.vocab, dims.hidden, generator=generator)
    table = nn.Embedding(dims.vocab, dims.hidden, _weight=rows.bfloat16().float())
    return table.requires_grad_(False)


SCENES = {
    scene(count, colour, shape) for count in range(1, 5) for colour in COLOURS for shape in SHAPES
}


class ThinkerNet(nn.Module):
    """The Thinker's decoder and head."""

    def __init__(self) -> None:
        super().__init__()
        net_config = Qwen2_5OmniTextConfig(**config()["thinker_config"]["text_config"])
        net_config._attn_implementation = "sdpa"
        net_config.use_cache = False
        self.model = Qwen2_5OmniThinkerTextModel(net_config)
        torch.manual_seed(6)
        for layer in self.model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.7 / layer.in_features**0.5)
        self.model.embed_tokens = embedding()
        self.lm_head = nn.Linear(net_config.hidden_size, net_config.vocab_size, bias=False)

    def embed(self, batch: Sequence[TrainingExample]) -> tuple[Tensor, Tensor, Tensor]:
        """Pads a batch on the right.

        Returns:
            Inputs f32[batch, L, width], positions i64[3, batch, L], labels i64[batch, L].
        """
        longest = max(example.ids.size for example in batch)
        x = torch.zeros(len(batch), longest, self.lm_head.in_features)
        positions = torch.zeros(3, len(batch), longest, dtype=torch.long)
        labels = torch.full((len(batch), longest), IGNORED)
        for row, example in enumerate(batch):
            ids = torch.from_numpy(example.ids)
            own = self.model.embed_tokens(ids)
            for placeholder, rows in example.media.items():
                own[ids == placeholder] = torch.from_numpy(rows)
            x[row, : ids.numel()] = own
            positions[:, row, : ids.numel()] = torch.from_numpy(example.positions)
            labels[row, : ids.numel()] = torch.from_numpy(example.labels)
        return x, positions, labels

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Returns the hidden states after the final norm."""
        hidden: Tensor = self.model(inputs_embeds=x, position_ids=positions)[0]
        return hidden


class Conversations:
    """Random conversations as training examples."""

    def __init__(self, folder: Path) -> None:
        bank = heard_bank(folder)
        utterances: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(bank.texts):
            utterances[text].append(index)
        self.texts = bank.texts[:HEARD]
        self.numbers = [text for text in self.texts if set(text.split()) <= set(DIGITS)]
        self.builder = ExampleBuilder(features(folder), dict(utterances))

    def item(self, rng: Random) -> Item:
        kind = rng.random()
        if kind < 0.35:
            return hear(rng, rng.choice(self.texts))
        return see(rng) if kind < 0.7 else converse(rng, self.numbers)

    def asking_for(self, text: str, rng: Random) -> Item:
        """Draws a conversation with this text as its answer.

        A text that the bank does not contain answers another utterance: the Talker must rely
        on the words of the answer, not on the question.
        """
        parts = text.split()
        if text in map(watch_answer, COLOURS):
            clip = random_clip(rng)
            while clip.answer != parts[-1]:
                clip = random_clip(rng)
            return Item("watch", (((clip, WATCH), text),))
        is_scene = len(parts) == 3 and text in SCENES
        if is_scene and rng.random() < 0.6:
            shown = Picture(COUNTS.index(parts[0]) + 1, parts[1], parts[2].rstrip("s"), 0)
            return Item("see", (((shown, SEE), text),))
        if len(parts) > 1 or text == "stop":
            said = text if text in self.builder.utterances else rng.choice(self.texts)
            return Item("hear", (((Utterance(said),), text),))
        for _ in range(100):
            item = converse(rng, self.numbers)
            if item.answer == text:
                return item
        return Item(item.skill, (*item.turns[:-1], (item.turns[-1][0], text)))

    def batch(self, number: int, steps: int) -> list[TrainingExample]:
        rng, draws = Random(number), np.random.default_rng((7, number))
        if number % CLIP_STEPS:
            return [self.example(self.item(rng), rng) for _ in range(BATCH)]
        untrimmed = number >= WHOLE_CLIPS_FROM * steps
        # thinned clips teach the task first; attention must then find the answer in whole clips
        kept = 1.0 if untrimmed else KEPT ** draws.random()
        clips = int(ROWS / (130 + 512 * kept))
        return [thin_clip(self.example(watch(rng), rng), kept, draws) for _ in range(clips)]

    def example(self, item: Item, rng: Random) -> TrainingExample:
        return self.builder.example(item, rng, rng.choice((None, None, *SYSTEM_PROMPTS)))


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    net, draws = ThinkerNet(), Conversations(args.folder)

    def step(number: int) -> Losses:
        batch = draws.batch(number, PLAN.steps)
        x, positions, labels = net.embed(batch)
        hidden = net(x, positions)
        labelled = labels != IGNORED
        logits = net.lm_head(hidden[labelled])
        loss = cross_entropy(logits, labels[labelled])
        right = torch.ones_like(labels, dtype=torch.bool)
        right[labelled] = logits.argmax(-1) == labels[labelled]
        exact = right.all(-1).float().mean()
        clips = number % CLIP_STEPS == 0
        # the log averages over all steps, so a figure of some steps is divided by their share
        share = 1 / CLIP_STEPS if clips else 1 - 1 / CLIP_STEPS
        return {"loss": loss, "clips": exact * clips / share, "others": exact * (not clips) / share}

    train(PLAN, args.folder, net, step)


if __name__ == "__main__":
    main()
