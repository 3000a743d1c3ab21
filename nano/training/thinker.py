"""Stage: the Thinker learns to answer, on what the trained encoders hear and see.

    python -m omnijet.nano.training.thinker

Its embedding table is random and stays so: it fits a world of a hundred words, and the
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
from omnijet.nano.training.prompts import UNANSWERED, Laid, Layout, thinned
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.training.tokenizer import model_dims
from omnijet.nano.world.clips import random_clip
from omnijet.nano.world.skills import Item, Said, Shown, converse, hear, see, watch
from omnijet.nano.world.words import COLOURS, COUNTS, DIGITS, SEE, SHAPES, WATCH, scene, watched

PLAN = Plan("thinker", steps=4700, rate=1.5e-3, warmup=200)
BATCH = 28
CLIP_STEPS = 5  # every so many steps are clips
WHOLE_CLIPS_FROM = 0.75  # of the steps; before, clips are thinned more or less
KEPT = 0.1  # least part of a clip's picture cells
ROWS = 2200  # of a batch of clips


def embedding() -> nn.Embedding:
    """The frozen table f32[vocab, hidden]."""
    dims = model_dims().thinker
    generator = torch.Generator().manual_seed(6)
    rows = torch.randn(dims.vocab, dims.hidden, generator=generator)
    table = nn.Embedding(dims.vocab, dims.hidden, _weight=rows.bfloat16().float())
    return table.requires_grad_(False)


SCENES = {
    scene(count, colour, shape) for count in range(1, 5) for colour in COLOURS for shape in SHAPES
}


class TextNet(nn.Module):
    """The Thinker's decoder and head."""

    def __init__(self) -> None:
        super().__init__()
        facts = Qwen2_5OmniTextConfig(**config()["thinker_config"]["text_config"])
        facts._attn_implementation = "sdpa"
        facts.use_cache = False
        self.model = Qwen2_5OmniThinkerTextModel(facts)
        torch.manual_seed(6)
        for layer in self.model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.7 / layer.in_features**0.5)
        self.model.embed_tokens = embedding()
        self.lm_head = nn.Linear(facts.hidden_size, facts.vocab_size, bias=False)

    def embed(self, batch: Sequence[Laid]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded on the right: inputs f32[batch, L, width], positions i64[3, batch, L],
        labels i64[batch, L]."""
        longest = max(laid.ids.size for laid in batch)
        x = torch.zeros(len(batch), longest, self.lm_head.in_features)
        positions = torch.zeros(3, len(batch), longest, dtype=torch.long)
        labels = torch.full((len(batch), longest), UNANSWERED)
        for row, laid in enumerate(batch):
            ids = torch.from_numpy(laid.ids)
            own = self.model.embed_tokens(ids)
            for placeholder, rows in laid.media.items():
                own[ids == placeholder] = torch.from_numpy(rows)
            x[row, : ids.numel()] = own
            positions[:, row, : ids.numel()] = torch.from_numpy(laid.positions)
            labels[row, : ids.numel()] = torch.from_numpy(laid.labels)
        return x, positions, labels

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Hidden states after the final norm."""
        hidden: Tensor = self.model(inputs_embeds=x, position_ids=positions)[0]
        return hidden


class Draws:
    """Random conversations, laid out."""

    def __init__(self, folder: Path) -> None:
        bank = heard_bank(folder)
        utterances: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(bank.texts):
            utterances[text].append(index)
        self.texts = bank.texts[:HEARD]
        self.numbers = [text for text in self.texts if set(text.split()) <= set(DIGITS)]
        self.layout = Layout(features(folder), dict(utterances))

    def item(self, rng: Random) -> Item:
        kind = rng.random()
        if kind < 0.35:
            return hear(rng, rng.choice(self.texts))
        return see(rng) if kind < 0.7 else converse(rng, self.numbers)

    def asking_for(self, text: str, rng: Random) -> Item:
        """A conversation answered by this text. A string that no one in the bank says
        answers some other utterance: the Talker must trust the words, not the question."""
        parts = text.split()
        if text in map(watched, COLOURS):
            clip = random_clip(rng)
            while clip.answer != parts[-1]:
                clip = random_clip(rng)
            return Item("watch", (((clip, WATCH), text),))
        is_scene = len(parts) == 3 and text in SCENES
        if is_scene and rng.random() < 0.6:
            shown = Shown(COUNTS.index(parts[0]) + 1, parts[1], parts[2].rstrip("s"), 0)
            return Item("see", (((shown, SEE), text),))
        if len(parts) > 1 or text == "stop":
            said = text if text in self.layout.utterances else rng.choice(self.texts)
            return Item("hear", (((Said(said),), text),))
        for _ in range(100):
            item = converse(rng, self.numbers)
            if item.answer == text:
                return item
        return Item(item.skill, (*item.turns[:-1], (item.turns[-1][0], text)))

    def batch(self, number: int, steps: int) -> list[Laid]:
        rng, draws = Random(number), np.random.default_rng((7, number))
        if number % CLIP_STEPS:
            return [self.lay(self.item(rng), rng) for _ in range(BATCH)]
        whole = number >= WHOLE_CLIPS_FROM * steps
        # short batches first teach what is asked; attention must still find it in whole clips
        kept = 1.0 if whole else KEPT ** draws.random()
        clips = int(ROWS / (130 + 512 * kept))
        return [thinned(self.lay(watch(rng), rng), kept, draws) for _ in range(clips)]

    def lay(self, item: Item, rng: Random) -> Laid:
        return self.layout.lay(item, rng, rng.choice((None, None, *SYSTEM_PROMPTS)))


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    net, draws = TextNet(), Draws(args.folder)

    def step(number: int) -> Losses:
        laid = draws.batch(number, PLAN.steps)
        x, positions, labels = net.embed(laid)
        hidden = net(x, positions)
        asked = labels != UNANSWERED
        logits = net.lm_head(hidden[asked])
        loss = cross_entropy(logits, labels[asked])
        right = torch.ones_like(labels, dtype=torch.bool)
        right[asked] = logits.argmax(-1) == labels[asked]
        exact = right.all(-1).float().mean()
        clips = number % CLIP_STEPS == 0
        # a mean over all steps of a figure that only some have
        share = 1 / CLIP_STEPS if clips else 1 - 1 / CLIP_STEPS
        return {"loss": loss, "clips": exact * clips / share, "others": exact * (not clips) / share}

    train(PLAN, args.folder, net, step)


if __name__ == "__main__":
    main()
