"""`python -m tools.bench.presets BUNDLE`: how the presets of streamed speech sound.

The codes of Omnijet-nano's held-out spoken replies are synthesized with each preset and, in one
piece, with each solver. The tables show the words that the recogniser gets wrong, and how far wave
and mel are from those of the reference's solver on the whole utterance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from omnijet.nano.evaluation.heldout import open_set
from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.nano.evaluation.scores import word_error_rate, word_errors
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.commands.bench import machine
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech.dit import DitTables, synthesize
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.speech.solver import EXACT, Solver
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.turn import SAMPLE_RATE_HZ
from tools.bench.solvers import CHOICES


def decibels(got: Array, expected: Array) -> float:
    """Returns the signal-to-error ratio."""
    error = np.mean((got - expected) ** 2) + 1e-20  # one window has no error
    return float(10 * np.log10(np.mean((expected - expected.mean()) ** 2) / error))


class Column:
    """The results of one preset or solver over all items."""

    def __init__(self, name: str, branches: int) -> None:
        self.name, self.branches = name, branches
        self.errors: list[int] = []
        self.wave_db: list[float] = []
        self.mel_db: list[float] = []

    def row(self, words: list[int]) -> tuple[str, ...]:
        score = word_error_rate(self.name, self.errors, words)
        mel = f"{np.median(self.mel_db):.1f} ({min(self.mel_db):.1f})" if self.mel_db else ""
        return (
            self.name, str(self.branches), mel,
            f"{np.median(self.wave_db):.1f} ({min(self.wave_db):.1f})",
            f"{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})",
        )  # fmt: skip


class Bench:
    """The benchmark: every item, spoken with every preset and solver."""

    def __init__(self, omni: Omni) -> None:
        self.omni = omni
        self.recogniser = Recogniser()
        self.tables = DitTables.load(omni.bundle.table, omni.model.dims.dit)
        self.graph = omni.model.backend.load(
            omni.bundle.graph("dit_step"), omni.bundle.manifest.contracts["dit_step"]
        )
        self.presets = {name: Column(name, p.solver.branch_evaluations) for name, p in
                        PRESETS.items()}  # fmt: skip
        self.solvers = {one.name: Column(one.name, one.branch_evaluations) for one in CHOICES}
        self.words: list[int] = []

    def add(self, item: Any) -> None:
        wanted = item.answer.split()
        self.words.append(len(wanted))
        whole = self._mel(item, EXACT)
        expected = self.omni.wave_of(whole)
        for solver in CHOICES:
            column, mel = self.solvers[solver.name], self._mel(item, solver)
            column.mel_db.append(decibels(mel, whole))
            self._hear(column, self.omni.wave_of(mel), expected, wanted)
        for name, preset in PRESETS.items():
            synthesis = self.omni.model.synthesis(str(item.voice), item.number, preset, Clock())
            wave = np.concatenate(list(synthesis.push(item.codes, last=True)))
            self._hear(self.presets[name], wave, expected, wanted)

    def _mel(self, item: Any, solver: Solver) -> Array:
        """Returns the mel of the whole utterance, f32[80, frames]."""
        codes, dims = np.array(item.codes), self.omni.model.dims.dit
        shape = (codes.size * dims.repeats, dims.mel)
        noise = np.random.default_rng(item.number).standard_normal(shape, np.float32)
        voice = self.omni.bundle.table(f"voice_{item.voice}")
        return synthesize(self.graph, self.tables, codes, voice, noise, solver=solver)[0]

    def _hear(self, column: Column, wave: Array, expected: Array, wanted: list[str]) -> None:
        heard = self.recogniser.words(wave, SAMPLE_RATE_HZ)
        column.errors.append(word_errors(wanted, heard))
        column.wave_db.append(decibels(wave, expected))

    def table(self, title: str, columns: Mapping[str, Column]) -> Table:
        table = Table(
            title, "branch evaluations", "mel dB, median (least)", "wave dB, median (least)",
            "word error rate, %",
        )  # fmt: skip
        for column in columns.values():
            table.add_row(*column.row(self.words))
        return table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.presets")
    parser.add_argument("bundle")
    parser.add_argument("--items", type=whole_number(1), default=200)
    args = parser.parse_args(arguments)
    bench = Bench(Omni.open(args.bundle))
    with open_set() as items:
        spoken = [item for item in items if item.skill == "speak"][: args.items]
        for item in track(spoken, "presets and solvers"):
            bench.add(item)
    print(machine())
    console = Console(width=110)
    console.print(bench.table("preset, streamed", bench.presets))
    console.print(bench.table("solver, in one piece", bench.solvers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
