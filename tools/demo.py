"""`make demo`: exports Omnijet-nano, checks the bundle, and asks it four questions.

The questions are a spoken number, a drawing, a filmed clip and a second turn, all from tests/media.
The program prints the answers and a table of stages, and writes the spoken replies and a picture of
their mel spectrograms to build/demo. The exit code is 1 if an answer is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

import omnijet
from omnijet import cli
from omnijet.runtime.commands.console import stage_progress
from omnijet.runtime.media.wav import write_wav
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.talk.reply import Reply

ROOT = Path(__file__).parent.parent
MEDIA = ROOT / "tests" / "media"
CHECKPOINT = ROOT / "nano" / "checkpoint"
OUT = ROOT / "build" / "demo"


@dataclass(frozen=True, slots=True)
class Question:
    """The turns of a user, the right answer to the last turn, and the voice that answers."""

    name: str
    turns: tuple[tuple[tuple[str, str], ...], ...]
    answer: str
    voice: str


DRAWING = (("image", str(MEDIA / "drawing.png")), ("text", "What do you see?"))
QUESTIONS = (
    Question("spoken", ((("audio", str(MEDIA / "question.wav")),),), "four seven one", "Chelsie"),
    Question("pictured", (DRAWING,), "three yellow stars", "Ethan"),
    Question(
        "filmed",
        (
            (
                ("video", str(MEDIA / "clip.mp4")),
                ("text", "Which colour was shown when the beep came?"),
            ),
        ),
        "it was green",
        "Chelsie",
    ),
    Question("conversed", (DRAWING, (("audio", str(MEDIA / "follow_up.wav")),)), "yellow", "Ethan"),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    bundle = OUT / "bundle"
    for command in (["export", str(CHECKPOINT), str(bundle)], ["check", str(bundle)]):
        print(f"\n$ omnijet {' '.join(command)}".replace(f"{ROOT}/", ""), flush=True)
        if code := cli.main(command):
            return code
    omni = omnijet.load(bundle)
    replies = {}
    for question in QUESTIONS:
        replies[question.name] = reply = ask(omni, question)
        write_wav(OUT / f"{question.name}.wav", reply.audio, reply.sample_rate_hz)
    console = Console(width=110)
    console.print(answer_table(replies))
    console.print(stage_table(replies))
    plot(replies, OUT / "replies.png")
    print(f"speech: {OUT.relative_to(ROOT)}/*.wav, spectrograms: replies.png beside them")
    wrong = [q.name for q in QUESTIONS if replies[q.name].text != q.answer]
    if wrong:
        print(f"wrong answers: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def ask(omni: Omni, question: Question) -> Reply:
    """Returns the spoken reply to the last turn; earlier turns are answered in text alone."""
    system = [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for number, turn in enumerate(question.turns, start=1):
        parts = [{"type": kind, kind: value} for kind, value in turn]
        messages.append({"role": "user", "content": parts})
        last = number == len(question.turns)
        with stage_progress() as report:
            reply = omni.generate(
                messages, voice=question.voice, speech=last, seed=0, report=report
            )
        messages.append({"role": "assistant", "content": reply.text})
    return reply


def answer_table(replies: dict[str, Reply]) -> Table:
    """Returns the questions and answers."""
    table = Table("question", "answer", "", "voice", "speech, s", title="answers")
    for question in QUESTIONS:
        reply = replies[question.name]
        asked = "; ".join(
            " + ".join(value if kind == "text" else Path(value).name for kind, value in turn)
            for turn in question.turns
        )
        mark = "right" if reply.text == question.answer else f"wrong: {question.answer}"
        seconds = reply.audio.size / reply.sample_rate_hz
        table.add_row(asked, reply.text, mark, reply.voice, f"{seconds:.2f}")
    return table


def stage_table(replies: dict[str, Reply]) -> Table:
    """Returns the milliseconds of each stage."""
    stages = list(dict.fromkeys(s for reply in replies.values() for s in reply.timings_ms))
    table = Table("milliseconds", *replies, title="time of each stage")
    for stage in stages:
        cells = [reply.timings_ms.get(stage) for reply in replies.values()]
        table.add_row(stage, *("" if ms is None else f"{ms:.1f}" for ms in cells))
    table.add_section()
    table.add_row("prompt tokens", *(str(reply.prompt_tokens) for reply in replies.values()))
    table.add_row("text tokens", *(str(len(reply.text_ids)) for reply in replies.values()))
    table.add_row("codec tokens", *(str(len(reply.codes)) for reply in replies.values()))
    return table


def plot(replies: dict[str, Reply], path: Path) -> None:
    """Draws a column per reply: its waveform above its mel spectrogram."""
    figure, axes = plt.subplots(2, len(replies), figsize=(4 * len(replies), 5), squeeze=False)
    for column, reply in enumerate(replies.values()):
        seconds = np.arange(reply.audio.size) / reply.sample_rate_hz
        axes[0, column].plot(seconds, reply.audio, linewidth=0.5)
        axes[0, column].set_title(f"{reply.voice}: {reply.text}")
        axes[0, column].set_xlim(0, seconds[-1] if seconds.size else 1)
        extent = (0.0, reply.mel.shape[1] / 100, 0.0, float(reply.mel.shape[0]))
        axes[1, column].imshow(reply.mel, origin="lower", aspect="auto", extent=extent)
        axes[1, column].set_xlabel("seconds")
    axes[0, 0].set_ylabel("sample")
    axes[1, 0].set_ylabel("mel band")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
