"""`python -m tools.bench.stages`: the cost of each stage, beside transformers in the same run.

The program prints three tables: stages and host overhead of a tiny checkpoint; a whole reply of it;
and the speech graphs at the dimensions of the real models, where arithmetic dominates, beside the
floor that the machine's own matrix product sets. It takes about five minutes and is the first part
of `make bench`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from omnijet import cli
from omnijet.export.stages import export_bundle
from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.backends.protocol import Bound
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.profiling.workload import vocoder_products
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.speech import dit, solver
from tests.prompts import text, user
from tests.reference import load_reference, reference_reply

ROUNDS = 5
TEXT_TOKENS, CODES = 24, 51  # one second of speech
SPEECH_FRAMES = 96


def race(*runners: Callable[[], object]) -> list[float]:
    """Returns the median milliseconds of each runner; they take turns, the first is not counted."""
    times: list[list[float]] = [[] for _ in runners]
    for round_ in range(ROUNDS + 1):
        for runner, taken in zip(runners, times, strict=True):
            began = perf_counter()
            runner()
            if round_:
                taken.append(1e3 * (perf_counter() - began))
    return [median(taken) for taken in times]


def whole_reply(checkpoint: Path, bundle: Path) -> Table:
    """Times the same greedy reply on both sides."""
    omni, reference = Omni.open(bundle), load_reference(checkpoint)
    messages = user(text("Who are you, and what can you see and hear?"))
    prompt = omni.model.prompt(parse_messages(messages))
    limits = {"voice": "Chelsie", "seed": 0}
    ours, theirs = race(
        lambda: omni.generate(
            messages, greedy=True, max_text_tokens=TEXT_TOKENS, max_codes=CODES, **limits
        ),
        lambda: reference_reply(reference, prompt, max_text=TEXT_TOKENS, max_codes=CODES, **limits),
    )
    table = Table("embedded checkpoint", "omnijet ms", "transformers ms", "times as fast")
    table.add_row("a whole spoken reply", f"{ours:.0f}", f"{theirs:.0f}", f"{theirs / ours:.1f}")
    return table


def speech(folder: Path) -> Table:
    """Times DiT and vocoder at the dimensions of the real models."""
    config = preset("nano")
    config["token2wav_config"] = preset("3b")["token2wav_config"]
    checkpoint = write_checkpoint(folder / "speech", config, seed=0)
    export_bundle(checkpoint, folder / "speech-bundle")
    omni = Omni.open(folder / "speech-bundle")
    reference = load_reference(checkpoint).token2wav
    dims = omni.model.dims
    table = Table(
        f"real dimensions, {SPEECH_FRAMES} mel frames", "omnijet ms", "transformers ms",
        "times as fast", "floor ms", "of the floor",
    )  # fmt: skip
    peak = flops_per_ms()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((SPEECH_FRAMES, dims.dit.mel), dtype=np.float32)
    codes = rng.integers(0, dims.codec.bos, SPEECH_FRAMES // dims.dit.repeats)

    tables = dit.DitTables.load(omni.bundle.table, dims.dit)
    bound = bind(omni, "dit_step", branches=2, blocks=-(-SPEECH_FRAMES // dims.dit.block))
    dit.write_static(bound, tables, codes, omni.bundle.table("voice_Chelsie"), SPEECH_FRAMES)
    time = solver.evaluation_times()[3]
    state = torch.from_numpy(noise)[None]
    speaker = torch.zeros(1, SPEECH_FRAMES, dims.dit.speaker_cond)
    ref_mel = torch.zeros(1, 400, dims.dit.mel) - 4

    @torch.no_grad()
    def reference_dit() -> Any:
        return reference.code2wav_dit_model(
            hidden_states=state, quantized_code=torch.from_numpy(codes)[None],
            speaker_embedding=speaker, condition_vector=ref_mel, time_step=torch.tensor(time),
        )  # fmt: skip

    entry = omni.bundle.manifest.graphs["dit_step"]
    floor = 2 * 2 * entry.parameters * SPEECH_FRAMES / peak
    add(table, "DiT, one evaluation", floor, lambda: dit.run_branches(bound, tables, time, noise),
        reference_dit)  # fmt: skip

    vocoder = bind(omni, "vocoder", frames=SPEECH_FRAMES)
    mel = (2 * noise - 4).T[None]
    vocoder.inputs["mel"][...] = mel
    tensor = torch.from_numpy(mel.copy())

    @torch.no_grad()
    def reference_vocoder() -> Any:
        return reference.code2wav_bigvgan_model(tensor)

    floor = 2 * vocoder_products(dims.vocoder) * SPEECH_FRAMES / peak
    add(table, "vocoder", floor, vocoder.run, reference_vocoder)
    return table


def bind(omni: Omni, name: str, **sizes: int) -> Bound:
    contract = omni.bundle.manifest.contracts[name]
    return omni.model.backend.load(omni.bundle.graph(name), contract).bind(sizes)


def add(
    table: Table, name: str, floor: float, ours: Callable[[], Any], theirs: Callable[[], Any]
) -> None:
    mine, other = race(ours, theirs)
    table.add_row(
        name, f"{mine:.0f}", f"{other:.0f}", f"{other / mine:.2f}", f"{floor:.0f}",
        f"{mine / floor:.2f} x",
    )  # fmt: skip


def flops_per_ms() -> float:
    """Returns the rate of a large f32 matrix product on this machine."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    (took,) = race(lambda: a @ b)
    return 2 * size**3 / took


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.stages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    print(machine())
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = write_checkpoint(folder / "nano", preset("nano"), seed=0)
        export_bundle(checkpoint, folder / "bundle")
        if code := cli.main(["bench", str(folder / "bundle")]):
            return code
        console.print(whole_reply(checkpoint, folder / "bundle"))
        console.print(speech(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
