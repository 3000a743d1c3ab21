"""DiT and vocoder: one evaluation and one piece, beside transformers' modules."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omnijet.export.synthetic.checkpoint import write_checkpoint
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.backends.protocol import Bound
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.workload import vocoder_products
from omnijet.runtime.speech import dit, solver
from tests.reference import load_reference
from tools.bench.parts.setting import VOICE, Setting
from tools.bench.row import TRANSFORMERS, Row
from tools.bench.turns import race

FRAMES = 96  # mel frames: 0.96 s
ROUNDS = 3


def sound(setting: Setting) -> list[Row]:
    """Times DiT and vocoder at the dimensions of the size."""
    with setting.opened() as omni, tempfile.TemporaryDirectory() as scratch:
        theirs = reference(setting.preset, Path(scratch))
        dims = omni.model.dims
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((FRAMES, dims.dit.mel), dtype=np.float32)
        codes = rng.integers(0, dims.codec.bos, FRAMES // dims.dit.repeats)
        manifest = omni.bundle.manifest
        evaluated = 2 * 2 * manifest.graphs["dit_step"].parameters * FRAMES
        vocoded = 2 * vocoder_products(dims.vocoder) * FRAMES
        ours, other = race(
            evaluation(omni, codes, noise), reference_evaluation(theirs, codes, noise), ROUNDS
        )
        rate, kind = setting.rate_of(manifest, "dit_step")
        rows = [
            Row(
                f"DiT {setting.title}, one guided evaluation of {FRAMES} mel frames",
                "ms", ours, 1e3 * evaluated / rate,
                f"{evaluated / 1e9:.0f} GFLOP {kind}",
                {TRANSFORMERS: other},
            )
        ]  # fmt: skip
        ours, other = race(vocoding(omni, noise), reference_vocoding(theirs, noise), ROUNDS)
        rows.append(
            Row(
                f"vocoder {setting.title}, {FRAMES} mel frames (0.96 s)",
                "ms", ours, 1e3 * vocoded / setting.rates.f32,
                f"{vocoded / 1e9:.0f} GFLOP of convolutions in f32",
                {TRANSFORMERS: other},
            )
        )  # fmt: skip
    return rows


def evaluation(omni: Omni, codes: Any, noise: Any) -> Callable[[], object]:
    """Returns a call of the DiT with both branches."""
    dims, frames = omni.model.dims, len(noise)
    tables = omni.model.dit_tables
    bound = bind(omni, "dit_step", branches=2, blocks=-(-frames // dims.dit.block))
    dit.write_static(bound, tables, codes, omni.bundle.table(f"voice_{VOICE}"), frames)
    time = solver.evaluation_times()[3]
    return lambda: dit.run_branches(bound, tables, time, noise)


def vocoding(omni: Omni, noise: Any) -> Callable[[], object]:
    """Returns a call of the vocoder."""
    bound = bind(omni, "vocoder", frames=len(noise))
    bound.inputs["mel"][...] = (2 * noise - 4).T[None]
    return bound.run


def bind(omni: Omni, name: str, **sizes: int) -> Bound:
    return omni.model.graph(name).bind(sizes)


def reference(name: str, folder: Path) -> Any:
    """Returns transformers' token2wav at the dimensions of a preset, with realistic weights."""
    config = preset("nano")
    config["token2wav_config"] = preset(name)["token2wav_config"]
    return load_reference(write_checkpoint(folder / "speech", config, seed=0)).token2wav


def reference_evaluation(theirs: Any, codes: Any, noise: Any) -> Callable[[], object]:
    flow = theirs.code2wav_dit_model
    given = {
        "hidden_states": torch.from_numpy(noise)[None],
        "quantized_code": torch.from_numpy(codes)[None],
        "speaker_embedding": torch.zeros(1, len(noise), flow.config.enc_emb_dim),
        "condition_vector": torch.zeros(1, 400, flow.config.mel_dim) - 4,
        "time_step": torch.tensor(solver.evaluation_times()[3]),
    }
    return torch.no_grad()(lambda: flow(**given))


def reference_vocoding(theirs: Any, noise: Any) -> Callable[[], object]:
    mel = torch.from_numpy((2 * noise - 4).T[None].copy())
    return torch.no_grad()(lambda: theirs.code2wav_bigvgan_model(mel))
