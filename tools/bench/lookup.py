"""`python -m tools.bench.lookup BUNDLE`: decode with and without guesses of repeated text.

The Thinker of the bundle is fed two replies of the length that is asked for: one that copies its
prompt with small changes, as an edit of a program or a quotation does, and one in which no two
words follow each other twice. The replies are dictated (each word is one token), so that a bundle
with random weights can be measured; the graph is fed every token, logits are read and sampled as
ever. Both ways take turns, and nothing is known of the machine before the first.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.drafts import Drafts
from omnijet.runtime.model.lookup import Lookup
from omnijet.runtime.model.pace import Pace
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.thinker import THINKER_SAMPLING, Thinker
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine

COPIED = 12
"""The copying reply changes every so manyeth word."""


class Text(NamedTuple):
    """Token ids of a prompt and of its reply."""

    name: str
    prompt: list[int]
    reply: list[int]


def texts(vocab: int, prompt: int, reply: int, seed: int = 0) -> tuple[Text, Text]:
    """Returns a text that repeats itself, and one that does not."""
    rng = np.random.default_rng(seed)
    words = rng.permutation(min(vocab, 32_768))
    read, new = words[:prompt].tolist(), words[prompt:].tolist()
    copied = [read[place % prompt] for place in range(reply)]
    copied[COPIED - 1 :: COPIED] = new[: len(copied[COPIED - 1 :: COPIED])]
    return Text("repeats itself", read, copied), Text("does not", read, new[:reply])


class Written(NamedTuple):
    """What a reply took.

    Attributes:
        rows: how many steps had so many rows.
    """

    tokens_per_s: float
    tokens_per_step: float
    rows: Counter[int]


def write(thinker: Thinker, text: Text, pace: Pace | None) -> Written:
    """Writes a reply; `pace` None: without guesses."""
    context = thinker.decoder.start(len(text.prompt))
    positions = np.tile(np.arange(len(text.prompt)), (3, 1))
    prefill = thinker.prefill(context, thinker.embed(np.array(text.prompt)), positions, 0)
    drafts = None
    if pace is not None:
        drafts = _Counted(Lookup(np.array(text.prompt), frozenset(thinker.tokens.eos)), pace)
    sampler = _Dictated(text.reply, thinker.decoder.dims.vocab)
    steps = thinker.generate(prefill, sampler, len(text.reply), drafts)
    began = perf_counter()
    for _ in steps:
        pass
    seconds, fed = perf_counter() - began, len(text.reply) - 1
    rows = drafts.rows if drafts is not None else Counter({1: fed})
    return Written(fed / seconds, fed / context.decoded, rows)


class _Counted(Drafts):
    """Drafts that count the rows of steps."""

    def __init__(self, lookup: Lookup, pace: Pace) -> None:
        super().__init__(lookup, pace)
        self.rows: Counter[int] = Counter()

    def note(self, context, rows: int, seconds: float) -> None:  # type: ignore[no-untyped-def]
        self.rows[rows] += 1
        super().note(context, rows, seconds)


class _Dictated(Sampler):
    """Takes the most likely token as ever, and says another one."""

    def __init__(self, ids: Sequence[int], vocab: int) -> None:
        super().__init__(THINKER_SAMPLING, vocab, (), np.random.default_rng(0))
        self._dictated = iter(ids)

    def __call__(self, logits: Array) -> int:
        super().__call__(logits)
        return next(self._dictated)


def main() -> None:
    """Prints tokens per second with and without guesses."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--prompt", type=int, default=200, metavar="N", help="prompt tokens")
    parser.add_argument("--reply", type=int, default=200, metavar="N", help="reply tokens")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    parser.add_argument("--provider", metavar="P")
    parser.add_argument("--engines", metavar="T")
    args = parser.parse_args()
    bundle = Bundle.open(args.bundle)
    backend = backend_for(bundle, args.provider, args.engines, args.threads)
    console = Console()
    with Omni.open(bundle.folder, backend=backend) as omni:
        omni.model.require_picks()
        thinker = omni.model.thinker
        table = Table(
            "text", "tokens/s without", "with", "ratio", "tokens a step", "rows: steps",
            title=f"{machine()}, {backend.name}",
        )  # fmt: skip
        for text in texts(thinker.decoder.dims.vocab, args.prompt, args.reply):
            fresh = replace(thinker, pace=Pace())
            write(fresh, Text("", text.prompt, text.reply[:8]), None)
            plain, guessed = [], []
            for _ in range(args.rounds):
                plain.append(write(fresh, text, None))
                guessed.append(write(fresh, text, fresh.pace))
            rates = [median(one.tokens_per_s for one in made) for made in (plain, guessed)]
            last = guessed[-1]
            table.add_row(
                text.name, *(f"{rate:.2f}" for rate in rates), f"{rates[1] / rates[0]:.2f} x",
                f"{last.tokens_per_step:.2f}",
                ", ".join(f"{rows}: {count}" for rows, count in sorted(last.rows.items())),
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    try:
        main()
    except OmnijetError as error:
        raise SystemExit(str(error)) from None
