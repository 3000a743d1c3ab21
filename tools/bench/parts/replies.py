"""Whole spoken replies beside transformers' own `generate`, with equal tokens on both sides."""

from __future__ import annotations

from statistics import median

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages
from tests.prompts import text, user
from tests.reference import load_reference, reference_reply
from tools.bench import reply as bench
from tools.bench.parts.setting import VOICE, Setting
from tools.bench.row import TRANSFORMERS, Row
from tools.bench.turns import race

TEXT_TOKENS, CODES = 24, 51  # one second of speech
MIDDLE = (24, 150)  # text tokens, codes: 3 s of speech
ROUNDS = 2


def embedded(setting: Setting) -> list[Row]:
    """Times a reply of the embedded checkpoint, and the host's share of its steps."""
    bundle, checkpoint = setting.makes.floats("nano", "f32"), setting.makes.checkpoint("nano")
    asked = user(text("Who are you, and what can you see and hear?"))
    limits = {"voice": VOICE, "seed": 0}
    with Omni.open(bundle) as omni:
        theirs, prompt = load_reference(checkpoint), omni.model.prompt(parse_messages(asked))
        replies = []

        def ours() -> None:
            replies.append(
                omni.generate(
                    asked, greedy=True, max_text_tokens=TEXT_TOKENS, max_codes=CODES, **limits
                )
            )

        mine, other = race(
            ours,
            lambda: reference_reply(
                theirs, prompt, max_text=TEXT_TOKENS, max_codes=CODES, **limits
            ),
            rounds=5,
        )
    rows = [
        Row("embedded checkpoint, a whole spoken reply", "ms", mine, peers={TRANSFORMERS: other})
    ]
    for stage, name in (("thinker_decode", "Thinker"), ("talker_decode", "Talker")):
        pairs = [
            pair
            for one in replies[1:]
            for pair in zip(one.steps[stage].total_us, one.steps[stage].graph_us, strict=True)
        ]
        host = median(total - graph for total, graph in pairs)
        whole = median(total for total, _ in pairs)
        rows.append(
            Row(
                f"embedded checkpoint, host's share of a step of the {name}", "µs", host,
                note=f"of {whole:.0f} µs",
            )
        )  # fmt: skip
    return rows


def middle(setting: Setting) -> list[Row]:
    """Times a reply of the middle checkpoint in f32 to a spoken question of 5 s."""
    bundle, checkpoint = setting.makes.floats("middle", "f32"), setting.makes.checkpoint("middle")
    taken = bench.measure(checkpoint, bundle, MIDDLE, ROUNDS, bench.STREAMED)
    if found := bench.differences([one for replies in taken for one in replies]):
        raise OmnijetError("replies differ from those of transformers", got="\n".join(found))
    theirs, *ours = [bench.medians(of_one_way) for of_one_way in zip(*taken, strict=True)]
    length = f"{len(theirs.text_ids)} text tokens and {theirs.sound_s:.0f} s of speech, f32"
    rows = []
    for figure, name in (("first_pcm_s", "first PCM"), ("total_s", "whole reply")):
        for one in ours:
            way = one.way if one.way == bench.OFFLINE else f"`{one.way}`"
            rows.append(
                Row(
                    f"{name} middle, {way}", "s", getattr(one, figure),
                    peers={TRANSFORMERS: getattr(theirs, figure)}, note=length,
                )
            )  # fmt: skip
    return rows
