"""`python -m tools.bench.reply`: one spoken reply of ours and of transformers, side by side.

A seeded random checkpoint of middle size (`omnijet.export.synthetic.presets`, 0.4 G parameters) is
asked a spoken question of 5 s with words, and answers with 24 text tokens and 6 s of speech on both
sides. Transformers uses its own `generate`, which hands over the speech when it returns; the work
of its processor is not counted, ours is. Ours is streamed with each preset, and generated offline.
Both decode greedily in f32 on the same noise, and the text and codec tokens must be equal; the exit
code is 1 if they are not. Every time is the median of three replies, taken in turns. `--small` is a
trial at tiny dimensions, `--made CHECKPOINT BUNDLE` skips the export.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from omnijet.export.stages import export_bundle
from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.reply import PcmChunk, Reply
from omnijet.runtime.talk.turn import SAMPLE_RATE_HZ
from tests.prompts import Messages, sound, text, user
from tests.reference import load_reference, reference_reply

TRANSFORMERS, OFFLINE = "transformers", "offline"
STREAMED = ("exact", "balanced", "fast")
QUESTION_S = 5.0
MIDDLE, SMALL = (24, 300), (8, 50)  # text tokens, codes (50 a second)
WARM = (2, 13)  # of the uncounted reply that each side gives first
VOICE, SEED = "Chelsie", 0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A reply and its times, in seconds from the call.

    Attributes:
        way: How the reply was made: a preset, "offline" or transformers.
        first_text_s: Time until the first text.
        first_pcm_s: Time until the caller holds samples.
        total_s: Time until the end.
        synthesis_s: Time inside DiT and vocoder.
        text_ids: The text tokens.
        codes: The codec tokens.
        wave: The samples, f32[samples].
    """

    way: str
    first_text_s: float
    first_pcm_s: float
    total_s: float
    synthesis_s: float
    text_ids: list[int]
    codes: list[int]
    wave: Array

    @property
    def sound_s(self) -> float:
        return self.wave.size / SAMPLE_RATE_HZ


class Ours:
    """Our runtime on a bundle; it answers one question at one length."""

    def __init__(self, bundle: Path, question: Messages) -> None:
        self.omni, self.question = Omni.open(bundle), question
        dims = self.omni.model.dims
        # random weights may end a text at any time: on both sides the limit sets its length
        self.omni.model.dims = replace(dims, tokens=replace(dims.tokens, eos=()))
        self.sampling = replace(TALKER_SAMPLING, suppress=dims.codec.ends)
        self.omni.load(sight=False)

    def prompt(self) -> Prompt:
        """The question in the form that the reference takes."""
        return self.omni.model.prompt(parse_messages(self.question))

    def options(self, length: tuple[int, int]) -> dict[str, Any]:
        return {
            "voice": VOICE, "seed": SEED, "greedy": True, "talker_sampling": self.sampling,
            "max_text_tokens": length[0], "max_codes": length[1] + 1,  # the last is dropped
        }  # fmt: skip

    def offline(self, length: tuple[int, int]) -> Spoken:
        began = perf_counter()
        reply = self.omni.generate(self.question, **self.options(length))
        took = perf_counter() - began
        return self._spoken(OFFLINE, reply, took, took)

    def streamed(self, name: str, length: tuple[int, int]) -> Spoken:
        began, first = perf_counter(), 0.0
        stream = self.omni.stream(self.question, preset=name, **self.options(length))
        with stream:
            for event in stream:
                if isinstance(event, PcmChunk) and not first:
                    first = perf_counter() - began
        took = perf_counter() - began
        return self._spoken(name, stream.reply, first, took)

    def _spoken(self, way: str, reply: Reply, first_pcm_s: float, total_s: float) -> Spoken:
        timings = reply.timings_ms
        return Spoken(
            way, reply.latency_ms["first_text"] / 1e3, first_pcm_s, total_s,
            (timings["dit"] + timings["vocoder"]) / 1e3, reply.text_ids, reply.codes, reply.audio,
        )  # fmt: skip


class Theirs:
    """The reference on a checkpoint.

    A streamer of its Thinker and hooks of its token2wav measure what its `generate` does not
    report.
    """

    def __init__(self, checkpoint: Path, prompt: Prompt) -> None:
        self.model, self.prompt = load_reference(checkpoint), prompt
        self.model.thinker.generation_config.eos_token_id = None
        self.model.token2wav.register_forward_pre_hook(self._speech_begins)
        self.model.token2wav.register_forward_hook(self._speech_ends)
        self._puts: list[float] = []
        self._speech = [0.0, 0.0]

    def put(self, ids: torch.Tensor) -> None:
        """Receives the prompt, then each token (`transformers.generation.BaseStreamer`)."""
        self._puts.append(perf_counter())

    def end(self) -> None:
        """Is called once the text is complete (`transformers.generation.BaseStreamer`)."""

    def _speech_begins(self, *given: Any) -> None:
        self._speech[0] = perf_counter()

    def _speech_ends(self, *given: Any) -> None:
        self._speech[1] = perf_counter()

    def spoken(self, length: tuple[int, int]) -> Spoken:
        self._puts.clear()
        text_tokens, codes = length
        began = perf_counter()
        reply = reference_reply(
            self.model, self.prompt, voice=VOICE, seed=SEED, max_text=text_tokens,
            max_codes=codes + 1, talker_min_new_tokens=codes + 1, thinker_streamer=self,
        )  # fmt: skip
        took = perf_counter() - began
        begun, ended = self._speech
        return Spoken(
            TRANSFORMERS, self._puts[1] - began, took, took, ended - begun, reply.text_ids,
            reply.codes, reply.wave,
        )  # fmt: skip


def measure(
    checkpoint: Path, bundle: Path, length: tuple[int, int], rounds: int, presets: Sequence[str]
) -> list[list[Spoken]]:
    """Measures rounds: the reference's reply, then ours in every way.

    A short reply in every way comes first and is not counted.
    """
    question = user(sound(QUESTION_S, 1), text("What did you hear?"))
    ours = Ours(bundle, question)
    ways: list[Callable[[tuple[int, int]], Spoken]] = [
        Theirs(checkpoint, ours.prompt()).spoken,
        *(partial(ours.streamed, name) for name in presets),
        ours.offline,
    ]
    for way in ways:
        way((min(WARM[0], length[0]), min(WARM[1], length[1])))
    return [[way(length) for way in ways] for _ in range(rounds)]


def medians(replies: Sequence[Spoken]) -> Spoken:
    """Returns the first reply with the median of every time."""
    return replace(
        replies[0],
        **{
            key: median(getattr(reply, key) for reply in replies)
            for key in ("first_text_s", "first_pcm_s", "total_s", "synthesis_s")
        },
    )


def differences(replies: Sequence[Spoken]) -> list[str]:
    """Returns where a reply differs in content or length from the first, the reference's."""
    reference, *ours = replies
    found = []
    for reply in ours:
        for what in ("text_ids", "codes"):
            got, expected = getattr(reply, what), getattr(reference, what)
            if got != expected:
                pairs = zip(got, expected, strict=False)
                at = next((n for n, (a, b) in enumerate(pairs) if a != b), "the end")
                found.append(f"{reply.way}: {what} differ at {at}")
        if reply.wave.size != reference.wave.size:
            found.append(f"{reply.way}: {reply.wave.size} samples, not {reference.wave.size}")
    return found


def report(taken: Sequence[Sequence[Spoken]]) -> Table:
    """Returns the medians of the rounds, and their ratios to the first way, the reference."""
    replies = [medians(of_one_way) for of_one_way in zip(*taken, strict=True)]
    reference = replies[0]
    table = Table(
        "", "first text s", "first PCM s", "total s", "RTF", "synthesis RTF",
        "first PCM, times sooner", "total, times as fast", "wave dB",
        title=f"{len(reference.text_ids)} text tokens, {reference.sound_s:.2f} s of speech",
        caption=f"medians of {len(taken)}; RTF: seconds per second of speech; wave dB: "
        "transformers' wave over the difference",
    )  # fmt: skip
    for reply in replies:
        theirs = reply is reference
        table.add_row(
            reply.way, f"{reply.first_text_s:.3f}", f"{reply.first_pcm_s:.2f}",
            f"{reply.total_s:.2f}", f"{reply.total_s / reply.sound_s:.2f}",
            f"{reply.synthesis_s / reply.sound_s:.2f}",
            "" if theirs else f"{reference.first_pcm_s / reply.first_pcm_s:.1f}",
            "" if theirs else f"{reference.total_s / reply.total_s:.2f}",
            "" if theirs else decibels(reply.wave, reference.wave),
        )  # fmt: skip
    return table


def decibels(wave: Array, wanted: Array) -> str:
    """Returns the ratio of the wanted signal to the difference."""
    error = float(np.sum((wave - wanted) ** 2)) + 1e-30
    return f"{10 * np.log10(float(np.sum(wanted**2)) / error):.0f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tools.bench.reply")
    parser.add_argument("--small", action="store_true", help="tiny dimensions, 1 s of speech")
    parser.add_argument("--made", type=Path, nargs=2, metavar=("CHECKPOINT", "BUNDLE"))
    # a reply of a single token is not spoken
    parser.add_argument("--text-tokens", type=whole_number(2), metavar="N")
    parser.add_argument("--codes", type=whole_number(1), metavar="N", help="50 a second")
    parser.add_argument("--rounds", type=whole_number(1), default=3, metavar="N")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=STREAMED)
    options = parser.parse_args(arguments)
    usual = SMALL if options.small else MIDDLE
    length = (options.text_tokens or usual[0], options.codes or usual[1])
    print(
        f"{machine()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = options.made or make(Path(scratch), "nano" if options.small else "middle")
        taken = measure(*made, length, options.rounds, options.presets)
    if found := differences([reply for replies in taken for reply in replies]):
        print("\n".join(found))
        return 1
    print("text and codec tokens are equal")
    Console(width=120).print(report(taken))
    return 0


def make(folder: Path, name: str) -> tuple[Path, Path]:
    """Writes a checkpoint of a preset and its bundle."""
    checkpoint = write_checkpoint(folder / "checkpoint", preset(name), seed=SEED)
    export_bundle(checkpoint, folder / "bundle")
    return checkpoint, folder / "bundle"


if __name__ == "__main__":
    sys.exit(main())
