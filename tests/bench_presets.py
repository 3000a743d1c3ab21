"""`python -m tests.bench_presets BUNDLE`: what the presets of streamed speech do to the ear.

Codes of the held-out spoken replies of Omnijet-nano, offline and through each preset: words
that the recogniser gets wrong, and how far the wave lies from the offline one.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from nano.evaluation.heldout import open_set
from nano.evaluation.recogniser import Recogniser
from nano.evaluation.scores import word_error_rate, word_errors
from runtime.clock import Clock
from runtime.commands.bench import machine
from runtime.contract import Array
from runtime.pipeline import Omni
from runtime.synthesis import PRESETS
from runtime.turn import SAMPLE_RATE_HZ

OFFLINE = "offline"


def waves(omni: Omni, codes: tuple[int, ...], voice: str, seed: int) -> dict[str, Array]:
    made = {OFFLINE: omni.wave_of(omni.mel_of(codes, voice=voice, seed=seed))}
    for name, preset in PRESETS.items():
        pieces = omni.synthesis(voice, seed, preset, Clock()).push(codes, last=True)
        made[name] = np.concatenate(list(pieces))
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_presets")
    parser.add_argument("bundle")
    parser.add_argument("--items", type=int, default=200)
    args = parser.parse_args(arguments)
    omni, recogniser = Omni.open(args.bundle), Recogniser()
    errors: dict[str, list[int]] = {name: [] for name in (OFFLINE, *PRESETS)}
    snr_db: dict[str, list[float]] = {name: [] for name in PRESETS}
    words = []
    with open_set() as items:
        spoken = [item for item in items if item.skill == "speak"][: args.items]
        for item in track(spoken, "presets"):
            wanted = item.answer.split()
            words.append(len(wanted))
            made = waves(omni, item.codes, str(item.voice), item.number)
            for name, wave in made.items():
                heard = recogniser.words(wave, SAMPLE_RATE_HZ)
                errors[name].append(word_errors(wanted, heard))
                if name != OFFLINE:
                    noise = np.mean((wave - made[OFFLINE]) ** 2) + 1e-20  # one window: the same
                    snr_db[name].append(float(10 * np.log10(np.mean(made[OFFLINE] ** 2) / noise)))
    print(machine())
    table = Table("preset", "branch evaluations", "SNR dB, median", "least", "word error rate, %")
    for name, wrong in errors.items():
        score = word_error_rate(name, wrong, words)
        rate = f"{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"
        if name == OFFLINE:
            table.add_row(name, "72", "", "", rate)
        else:
            values, solver = snr_db[name], PRESETS[name].solver
            table.add_row(
                name, str(solver.branch_evaluations), f"{np.median(values):.1f}",
                f"{min(values):.1f}", rate,
            )  # fmt: skip
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
