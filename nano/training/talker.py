"""The stage in which the Talker learns to speak replies as codes.

    python -m omnijet.nano.training.talker             # on the Thinker's embeddings only
    python -m omnijet.nano.training.talker --tuned     # then on its real hidden states

At first the Thinker's hidden states are random. The text is in the embeddings, and the Talker
learns to rely on them while the Thinker still trains. The loss includes the repetition penalty
of decoding, so that the Talker can still repeat codes.

Codes alone teach reading slowly: most codes follow from earlier ones, and the text matters
only where a word begins. An auxiliary head, discarded afterwards, therefore predicts at every
step the current word and the next one (`omnijet.nano.training.word_times`).
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniTalkerConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniTalkerModel

from omnijet.nano.config import VOICES, config
from omnijet.nano.training.codec import CODES, Codec
from omnijet.nano.training.prompts import thin_clip
from omnijet.nano.training.reply_speech import spoken_lines, spoken_replies
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.training.thinker import KEPT, Conversations, ThinkerNet, embedding
from omnijet.nano.training.tokenizer import model_dims, tokenizer
from omnijet.nano.training.word_times import word_ends
from omnijet.nano.world.words import REPLY_WORDS

PLAN = Plan("talker", steps=6000, rate=1.5e-3, warmup=200)
TUNED = Plan("talker_tuned", steps=1500, rate=1.2e-3, warmup=50)
BATCH = 16
PENALTY = 1.05
CORRUPTED = 0.1  # share of the fed-back codes that are replaced by random ones
VOICE_TOKEN = 20  # offset from the first special id
END = CODES  # class of the end token; code c is class c - 1
WORD_LAYER = 3  # the auxiliary head reads the output of this layer
WORD_WEIGHT = 0.5
WORD_CLASSES = {word: number for number, word in enumerate(REPLY_WORDS)}
NO_WORD = len(REPLY_WORDS)  # class of the time after the last word


class TalkerNet(nn.Module):
    """The Talker's table, decoder and head, and the auxiliary head for words."""

    used: Tensor  # the ids that the Talker can say

    def __init__(self) -> None:
        super().__init__()
        net_config = Qwen2_5OmniTalkerConfig(**config()["talker_config"])
        net_config._attn_implementation = "sdpa"
        net_config.use_cache = False
        self.model = Qwen2_5OmniTalkerModel(net_config)
        torch.manual_seed(8)
        width = net_config.embedding_size
        for layer in self.model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.7 / layer.in_features**0.5)
        self.project = nn.Linear(width, net_config.hidden_size)
        nn.init.normal_(self.project.weight, std=1 / width**0.5)
        self.head = nn.Linear(net_config.hidden_size, net_config.vocab_size, bias=False)
        # rows of ids that are never said stay zero, here and (but for row 0) in the table
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.model.embed_tokens.weight)
        codec = model_dims().codec
        used = torch.tensor([*range(1, CODES + 1), codec.eos])
        openers = torch.tensor([codec.pad, codec.bos])
        with torch.no_grad():
            rows = torch.randn(len(used) + 2, width)
            self.model.embed_tokens.weight[torch.cat([used, openers])] = rows
            self.head.weight[used] = torch.randn(len(used), net_config.hidden_size) * 0.02
        self.register_buffer("used", used, persistent=False)
        self.words = nn.Linear(net_config.hidden_size, 2 * (NO_WORD + 1))

    def forward(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the decoder on summed rows f32[batch, L, width].

        Returns:
            The hidden states, and logits f32[batch, L, 2, words + 1] of the current word and
            of the next one.
        """
        made = self.model(
            inputs_embeds=self.project(rows), position_ids=positions[None].expand(3, -1, -1),
            output_hidden_states=True,
        )  # fmt: skip
        words = self.words(made.hidden_states[WORD_LAYER]).unflatten(-1, (2, -1))
        return made.last_hidden_state, words

    def log_odds(self, hidden: Tensor, said: Tensor) -> Tensor:
        """Computes the logits of codes, end token and, as one last class, all unused ids.

        Args:
            hidden: f32[..., hidden].
            said: bool[..., classes], the classes that the repetition penalty lowers.
        """
        logits = hidden @ self.head.weight[self.used].T
        lowered = torch.where(logits > 0, logits / PENALTY, logits * PENALTY)
        logits = torch.where(said, lowered, logits)
        never = self.head.out_features - len(self.used)
        return torch.cat([logits, torch.full_like(logits[..., :1], math.log(never))], -1)


class TalkerExamples:
    """Random batches of replies as the Talker reads them."""

    def __init__(self, folder: Path, tuned: bool) -> None:
        replies = spoken_replies(folder) + spoken_lines(folder)
        codec = Codec.load(folder / "codec.npz")
        self.replies = sorted(replies, key=lambda reply: len(reply.mel))
        self.codes = [codec.encode(reply.mel, reply.voice) for reply in self.replies]
        self.ends = word_ends(folder, self.replies)
        self.table = embedding()
        self.thinker: ThinkerNet | None = None
        if tuned:
            self.thinker = ThinkerNet()
            state = torch.load(folder / "thinker.pt", weights_only=True)["model"]
            self.thinker.load_state_dict(state)
            self.thinker.eval()
            self.conversations = Conversations(folder)

    @torch.no_grad()
    def text_rows(self, text: str, rng: Random) -> tuple[Tensor, Tensor]:
        """Returns the prompt rows f32[P, width] and the rows f32[tokens, width] of a reply."""
        if self.thinker is not None:
            return self._real_rows(text, rng)
        generator = torch.Generator().manual_seed(rng.randrange(1 << 31))
        ids = torch.tensor(tokenizer().encode(text))
        table = self.table.weight
        prompt = torch.randint(1000, (rng.randint(3, 16),), generator=generator)
        ids = torch.cat([prompt, ids])
        std = rng.uniform(0.3, 1.2)
        rows = table[ids] + std * torch.randn(len(ids), table.shape[1], generator=generator)
        return rows[: len(prompt)], rows[len(prompt) :]

    def _real_rows(self, text: str, rng: Random) -> tuple[Tensor, Tensor]:
        """Returns the rows of a conversation in which the Thinker gives this reply."""
        assert self.thinker is not None
        example = self.conversations.example(self.conversations.asking_for(text, rng), rng)
        if model_dims().tokens.video in example.media:  # a few cells show the answer, too
            example = thin_clip(example, KEPT, np.random.default_rng(rng.randrange(1 << 31)))
        x, positions, _ = self.thinker.embed([example])
        hidden = self.thinker(x, positions)[0]
        tokens = model_dims().tokens
        media = (tokens.audio, tokens.image, tokens.video)
        own = x[0] * ~torch.isin(torch.from_numpy(example.ids), torch.tensor(media))[:, None]
        spoken = len(tokenizer().encode(text))
        rows = own + hidden
        start = len(rows) - spoken - 1  # the end token is never fed
        return rows[:start], rows[start : start + spoken]

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Draws the batch of a step.

        Returns:
            The text part of the rows f32[batch, L, width], fed codes i64[batch, L], target
            classes i64[batch, L] (-100 where none), positions i64[batch, L], and the classes
            i64[batch, L, 2] of the current and the next word (-100 where none).
        """
        rng = Random(number)
        first = rng.randrange(len(self.replies) - BATCH)
        built = [self._example(index, rng) for index in range(first, first + BATCH)]
        longest = max(len(codes) for _, codes, _, _ in built)
        width = self.table.embedding_dim
        rows = torch.zeros(BATCH, longest, width)
        fed = torch.zeros(BATCH, longest, dtype=torch.long)
        said = torch.full((BATCH, longest), -100)
        words = torch.full((BATCH, longest, 2), -100)
        for at, (text, codes, classes, own_words) in enumerate(built):
            rows[at, : len(codes)], fed[at, : len(codes)] = text, codes
            said[at, : len(codes)] = classes
            words[at, len(codes) - len(own_words) : len(codes)] = own_words
        starts = torch.tensor([rng.randrange(200) for _ in range(BATCH)])
        return rows, fed, said, starts[:, None] + torch.arange(longest), words

    def _example(self, index: int, rng: Random) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        reply, codes = self.replies[index], torch.from_numpy(self.codes[index])
        prompt, written = self.text_rows(reply.text, rng)
        tokens, codec, table = model_dims().tokens, model_dims().codec, self.table.weight
        voice = table[tokens.pad + VOICE_TOKEN + VOICES[reply.voice]]
        end, pad = table[tokens.tts_eos], table[tokens.tts_pad]
        stream = torch.cat([written[1:], end[None], pad.expand(len(codes), -1)])[: len(codes)]
        rows = torch.cat([prompt, voice[None], written[:1], stream])
        # id 0 is no code: its row is added to the prompt's rows, see `fold_prompt_row`
        openers = torch.tensor([0] * len(prompt) + [codec.pad, codec.bos])
        noise = np.random.default_rng(rng.randrange(1 << 31))
        corrupted = torch.from_numpy(noise.random(len(codes)) < CORRUPTED)
        others = torch.from_numpy(noise.integers(1, CODES + 1, len(codes)))
        fed = torch.cat([openers, torch.where(corrupted, others, codes)])
        silent = torch.full((len(prompt) + 1,), -100)
        classes = torch.cat([silent, codes - 1, torch.tensor([END])])
        return rows, fed, classes, self._words(index)

    def _words(self, index: int) -> Tensor:
        """Returns the current and the next word at each step, i64[codes + 1, 2]."""
        text = [WORD_CLASSES[word] for word in self.replies[index].text.split()]
        steps = np.arange(len(self.codes[index]) + 1)
        at = np.searchsorted(self.ends[index], steps, side="right")
        known = np.array([*text, NO_WORD, NO_WORD])
        return torch.from_numpy(np.stack([known[at], known[at + 1]], -1))


def fold_prompt_row(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Folds the row of id 0 of a trained `TalkerNet` into bias and codes.

    In training, prompt rows carry row 0, which learns to mark them; in the real model they
    carry no codec row. Adding a vector to all rows without a code is the same as adding it to
    all rows, through the projection's bias, and subtracting it from every code.
    """
    table, prompt_row = state["model.embed_tokens.weight"], state["model.embed_tokens.weight"][0]
    carried = table.any(-1, keepdim=True)
    return {
        **state,
        "model.embed_tokens.weight": torch.where(carried, table - prompt_row, table),
        "project.bias": state["project.bias"] + state["project.weight"] @ prompt_row,
    }


def said_before(classes: Tensor) -> Tensor:
    """Returns which codes occur earlier in each row, bool[batch, L, codes + 1]."""
    once = nn.functional.one_hot(classes.clamp_min(0), CODES + 1) * (classes >= 0)[..., None]
    earlier: Tensor = (once.cumsum(1) - once) > 0
    return earlier


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--tuned", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net, examples = TalkerNet(), TalkerExamples(args.folder, args.tuned)
    plan = TUNED if args.tuned else PLAN
    if args.tuned:
        state = torch.load(args.folder / f"{PLAN.name}.pt", weights_only=True)
        net.load_state_dict(state["model"])

    def step(number: int) -> Losses:
        rows, fed, classes, positions, words = examples.batch(number)
        hidden, word_logits = net(rows + net.model.embed_tokens(fed), positions)
        labelled = classes >= 0
        logits = net.log_odds(hidden[labelled], said_before(classes)[labelled])
        codes = cross_entropy(logits, classes[labelled])
        right = (logits.argmax(-1) == classes[labelled]).float().mean()
        reading = cross_entropy(word_logits[labelled].flatten(0, 1), words[labelled].flatten())
        read = (word_logits[labelled].argmax(-1) == words[labelled]).float().mean(0)
        return {
            "loss": codes + WORD_WEIGHT * reading, "codes": codes, "right": right,
            "word": read[0], "next": read[1],
        }  # fmt: skip

    train(plan, args.folder, net, step)


if __name__ == "__main__":
    main()
