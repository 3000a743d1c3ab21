"""Decode with guesses from the prompt: a text that repeats itself, and one that does not."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from omnijet.runtime.model.pace import Pace
from tools.bench.lookup import Text, texts, write
from tools.bench.parts.setting import Setting
from tools.bench.row import Row

PROMPT, REPLY, ROUNDS = 200, 150, 2  # tokens
WITHOUT = "one token a step"


def lookup(setting: Setting) -> list[Row]:
    """Times dictated replies with and without guesses, in turns."""
    rows = []
    with setting.opened() as omni:
        omni.model.require_picks()
        thinker = omni.model.thinker
        for text in texts(thinker.decoder.dims.vocab, PROMPT, REPLY):
            fresh = replace(thinker, pace=Pace())
            write(fresh, Text("", text.prompt, text.reply[:8]), None)  # warm
            plain, guessed = [], []
            for _ in range(ROUNDS):
                plain.append(write(fresh, text, None))
                guessed.append(write(fresh, text, fresh.pace))
            ours, alone = (median(one.tokens_per_s for one in made) for made in (guessed, plain))
            rows.append(
                Row(
                    f"Thinker {setting.title}, a reply that {text.name}, with prompt lookup",
                    "tokens/s", ours, peers={WITHOUT: alone},
                    note=f"{guessed[-1].tokens_per_step:.2f} tokens a step",
                )
            )  # fmt: skip
    return rows
