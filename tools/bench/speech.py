"""`python -m tools.bench.speech`: cost and error of speech that is synthesized in windows.

DiT and vocoder have the real dimensions and realistic random weights. The tables show the presets
as they stream, each solver on a whole utterance, and each window scheme against the whole utterance
of the cheapest preset's solver. Cost is per second of sound, relative to transformers' 36
evaluations of both branches and its vocoder, timed in the same run. The run takes about fifteen
minutes; `--small` is a trial at tiny dimensions, `--bundle FOLDER` skips the export.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from omnijet.export.stages import export_bundle
from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.commands.bench import machine
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech import dit
from omnijet.runtime.speech.presets import PRESETS, SpeechPreset
from omnijet.runtime.speech.solver import EXACT, Solver
from omnijet.runtime.speech.synthesis import SpeechGraphs, Synthesis
from omnijet.runtime.speech.vocoder import VocoderStream
from omnijet.runtime.speech.windows import SCHEMES
from tests.reference import load_reference
from tools.bench.solvers import CHOICES

CODES_PER_SECOND = 50
SHORT_CODES = 96  # where the length of the utterance does not matter
REFERENCE_FRAMES = 96
ROUNDS = 3
SEED = 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tools.bench.speech")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--codes", type=int, default=300)
    parser.add_argument("--bundle", type=Path, help="folder of an earlier run, with ck and bundle")
    options = parser.parse_args(arguments)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.bundle or make(Path(scratch) / "speech", options.small)
        console = Console(width=120)
        whole = Bench(folder, options.codes)
        console.print(f"transformers: {whole.reference:.1f} s of work for a second of sound")
        console.print(whole.presets())
        short = Bench(folder, min(options.codes, SHORT_CODES))
        console.print(short.solvers())
        console.print(short.schemes())
    return 0


def make(folder: Path, small: bool) -> Path:
    config = preset("nano")
    if not small:
        config["token2wav_config"] = preset("3b")["token2wav_config"]
    folder.mkdir()
    export_bundle(write_checkpoint(folder / "ck", config, seed=SEED), folder / "bundle")
    return folder


class Listening(VocoderStream):
    """A vocoder stream that keeps the mel that it receives."""

    def __init__(self, vocoder: Bindings, context: int) -> None:
        super().__init__(vocoder, context)
        self.mel: list[Array] = []

    def push(self, mel: Array, ahead: Array | None = None, last: bool = False) -> Array:
        self.mel.append(mel)
        return super().push(mel, ahead, last)


class Bench:
    """The benchmark: one utterance, spoken with every preset and solver."""

    def __init__(self, folder: Path, codes: int) -> None:
        self.omni = Omni.open(folder / "bundle")
        dims = self.omni.model.dims
        self.voice = self.omni.bundle.table("voice_Chelsie")
        self.dit_tables = dit.DitTables.load(self.omni.bundle.table, dims.dit)
        self.graphs = SpeechGraphs(self._load("dit_step"), self._load("vocoder"), self.dit_tables)
        rng = np.random.default_rng(SEED)
        self.codes = rng.integers(0, dims.codec.bos, codes)
        self.seconds = codes / CODES_PER_SECOND
        shape = (codes * dims.dit.repeats, dims.dit.mel)
        self.noise = np.random.default_rng(SEED).standard_normal(shape, np.float32)
        self.reference = reference_seconds(folder / "ck", self.codes)
        took, self.mel = timed(lambda: self.solve(EXACT))
        self.exact_dit = took
        self.vocoder, self.wave = timed(lambda: self.omni.wave_of(self.mel))

    def _load(self, name: str) -> Any:
        contract = self.omni.bundle.manifest.contracts[name]
        return self.omni.model.backend.load(self.omni.bundle.graph(name), contract)

    def solve(self, solver: Solver) -> Array:
        """Returns the mel of the whole utterance, f32[80, frames]."""
        graph = self.graphs.dit_step.graph
        return dit.synthesize(
            graph, self.dit_tables, self.codes, self.voice, self.noise, solver=solver
        )[0]

    def solvers(self) -> Table:
        table = Table(
            f"whole utterance of {self.seconds:.1f} s", "evaluations", "branches", "work",
            "mel dB", "wave dB",
        )  # fmt: skip
        for solver in CHOICES:
            took, mel = (
                (self.exact_dit, self.mel) if solver == EXACT
                else timed(lambda solver=solver: self.solve(solver))
            )  # fmt: skip
            _, wave = timed(lambda mel=mel: self.omni.wave_of(mel))
            table.add_row(
                solver.name, str(len(solver.evaluations)), str(solver.branch_evaluations),
                self.work(took + self.vocoder), decibels(mel, self.mel), decibels(wave, self.wave),
            )  # fmt: skip
        return table

    def schemes(self) -> Table:
        """Returns the error of the windows: a cheap solver against its own whole utterance."""
        base = PRESETS["fast"]
        whole = self.solve(base.solver)
        wave = self.omni.wave_of(whole)
        table = Table(
            f"windows, {base.solver.name}", "work", "mel dB", "wave dB", "codes to first sound"
        )
        for scheme in SCHEMES:
            self.row(table, scheme.name, replace(base, windows=scheme), whole, wave)
        return table

    def presets(self) -> Table:
        """Returns cost and error of the presets against the exact whole utterance."""
        table = Table(
            f"preset, {self.seconds:.1f} s", "work", "mel dB", "wave dB", "codes to first sound"
        )
        for name, one in PRESETS.items():
            self.row(table, name, one, self.mel, self.wave)
        return table

    def row(self, table: Table, name: str, preset: SpeechPreset, mel: Array, wave: Array) -> None:
        took, spoken, windows, first = self.stream(preset)
        table.add_row(
            name, self.work(took), decibels(windows, mel), decibels(spoken, wave), str(first)
        )

    def stream(self, preset: SpeechPreset) -> tuple[float, Array, Array, int]:
        """Returns seconds, samples, mel f32[80, frames], and codes before the first sound."""
        synthesis = Synthesis(self.graphs, self.voice, SEED, preset)
        listening = synthesis.vocoder = Listening(self.graphs.vocoder, preset.context)
        chunks: list[Array] = []
        first = 0
        began = perf_counter()
        for done, code in enumerate(self.codes.tolist(), start=1):
            chunks += synthesis.push([code])
            first = first or (done if chunks else 0)
        chunks += synthesis.push([], last=True)
        took = perf_counter() - began
        return took, np.concatenate(chunks), np.concatenate(listening.mel, axis=1), first

    def work(self, seconds: float) -> str:
        return f"{seconds / self.seconds / self.reference:.3f}"


@torch.no_grad()
def reference_seconds(checkpoint: Path, codes: Array) -> float:
    """Returns the time that transformers needs for a second of sound.

    It is the time of one evaluation times 36, plus the vocoder.
    """
    model = load_reference(checkpoint).token2wav
    flow, vocoder = model.code2wav_dit_model, model.code2wav_bigvgan_model
    state = torch.randn(1, REFERENCE_FRAMES, flow.config.mel_dim)
    speaker = torch.zeros(1, REFERENCE_FRAMES, flow.config.enc_emb_dim)
    some = torch.from_numpy(np.resize(codes, REFERENCE_FRAMES // flow.repeats))[None]
    silence = torch.zeros(1, 400, flow.config.mel_dim) - 4

    def evaluate() -> Any:
        return flow(
            hidden_states=state, quantized_code=some, speaker_embedding=speaker,
            condition_vector=silence, time_step=torch.tensor(0.5),
        )  # fmt: skip

    one = median(timed(evaluate)[0] for _ in range(ROUNDS + 1))
    wave = median(timed(lambda: vocoder(state.mT * 2 - 4))[0] for _ in range(ROUNDS))
    seconds = REFERENCE_FRAMES / flow.repeats / CODES_PER_SECOND
    return float((len(EXACT.evaluations) * one + wave) / seconds)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = perf_counter()
    result = call()
    return perf_counter() - began, result


def decibels(got: Array, expected: Array) -> str:
    """Returns the signal-to-error ratio; infinite if equal."""
    error = float(np.mean((got - expected) ** 2))
    signal = float(np.mean((expected - expected.mean()) ** 2))
    return f"{10 * np.log10(signal / error):.1f}" if error else "equal"


if __name__ == "__main__":
    sys.exit(main())
