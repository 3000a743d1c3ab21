"""`make demo`: checkpoint -> bundle -> check -> three questions, on the embedded checkpoint.

Asks with a spoken WAV, a drawing and a filmed clip from tests/media, prints a table of
stages, and writes the spoken replies and a picture of their mel spectrograms.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

import omnijet
from runtime.chat import SPEECH_SYSTEM_PROMPT
from runtime.commands.run import stage_progress
from runtime.pipeline import Omni, Reply
from runtime.wav import write_wav

ROOT = Path(__file__).parent.parent
MEDIA = ROOT / "tests" / "media"
OUT = ROOT / "build" / "demo"
MAX_TEXT_TOKENS = 24
MAX_CODES = 101  # two seconds of speech

QUESTIONS: dict[str, list[dict[str, str]]] = {
    "spoken": [{"type": "audio", "audio": str(MEDIA / "question.wav")}],
    "pictured": [
        {"type": "image", "image": str(MEDIA / "drawing.png")},
        {"type": "text", "text": "What is in this picture?"},
    ],
    "filmed": [
        {"type": "video", "video": str(MEDIA / "clip.mp4")},
        {"type": "text", "text": "What do you see and hear?"},
    ],
}


def main() -> int:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    checkpoint, bundle = OUT / "nano", OUT / "bundle"
    for command in (
        ["synthesize", "nano", str(checkpoint), "--seed", "0"],
        ["export", str(checkpoint), str(bundle)],
        ["check", str(bundle)],
    ):
        print(f"\n$ omnijet {' '.join(command)}".replace(f"{ROOT}/", ""), flush=True)
        if code := omnijet.main(command):
            return code
    omni = omnijet.load(bundle)
    replies = {}
    for name, parts in QUESTIONS.items():
        print(f"\n{name} question", flush=True)
        replies[name] = ask(omni, parts)
        write_wav(OUT / f"{name}.wav", replies[name].audio, replies[name].sample_rate_hz)
        print(replies[name].text)
    shutil.copyfile(OUT / "filmed.wav", OUT / "reply.wav")
    Console(width=110).print(stage_table(replies))
    plot(replies, OUT / "reply.png")
    print(f"speech: {OUT.relative_to(ROOT)}/reply.wav, spectrograms: reply.png beside it")
    print("The embedded checkpoint is random: its words and sounds mean nothing yet.")
    return 0


def ask(omni: Omni, parts: list[dict[str, str]]) -> Reply:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": SPEECH_SYSTEM_PROMPT}]},
        {"role": "user", "content": parts},
    ]
    with stage_progress() as report:
        return omni.generate(
            messages, seed=0, max_text_tokens=MAX_TEXT_TOKENS, max_codes=MAX_CODES, report=report
        )


def stage_table(replies: dict[str, Reply]) -> Table:
    stages = list(dict.fromkeys(s for reply in replies.values() for s in reply.timings_ms))
    table = Table("milliseconds", *replies, title="time of each stage")
    for stage in stages:
        cells = [reply.timings_ms.get(stage) for reply in replies.values()]
        table.add_row(stage, *("" if ms is None else f"{ms:.1f}" for ms in cells))
    table.add_section()
    table.add_row("prompt tokens", *(str(reply.prompt_tokens) for reply in replies.values()))
    table.add_row("text tokens", *(str(len(reply.text_ids)) for reply in replies.values()))
    table.add_row("codec tokens", *(str(len(reply.codes)) for reply in replies.values()))
    seconds = [reply.audio.size / reply.sample_rate_hz for reply in replies.values()]
    table.add_row("speech, s", *(f"{value:.2f}" for value in seconds))
    return table


def plot(replies: dict[str, Reply], path: Path) -> None:
    """Waveform above mel spectrogram, a column per reply."""
    figure, axes = plt.subplots(2, len(replies), figsize=(4 * len(replies), 5), squeeze=False)
    for column, (name, reply) in enumerate(replies.items()):
        seconds = np.arange(reply.audio.size) / reply.sample_rate_hz
        axes[0, column].plot(seconds, reply.audio, linewidth=0.5)
        axes[0, column].set_title(f"{name}: {reply.voice}")
        axes[0, column].set_xlim(0, seconds[-1] if seconds.size else 1)
        extent = (0.0, reply.mel.shape[1] / 100, 0.0, float(reply.mel.shape[0]))
        axes[1, column].imshow(reply.mel, origin="lower", aspect="auto", extent=extent)
        axes[1, column].set_xlabel("seconds")
    axes[0, 0].set_ylabel("sample")
    axes[1, 0].set_ylabel("mel band")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
