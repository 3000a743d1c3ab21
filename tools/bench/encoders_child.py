"""Encodes a picture, clip or sound and prints seconds and memory, for `tools.bench.encoders`.

The job is JSON on stdin. Ours imports the runtime alone, as a user's process does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

FRAMES_PER_SECOND = 100  # of mel


@dataclass(frozen=True, slots=True)
class Job:
    """What is encoded, by whom.

    Attributes:
        folder: the bundle; None: transformers.
        preset: the dimensions of transformers' encoders.
        grid: steps, rows and columns of patches of a picture or clip; None: a sound.
        frames: mel frames of a sound.
    """

    folder: str | None
    preset: str
    grid: tuple[int, int, int] | None
    frames: int
    threads: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one process.

    Attributes:
        seconds: the quickest round.
        load_seconds: how long loading took.
        loaded: resident bytes once the graph is loaded and has run.
        mapped: those among them that are pages of files.
        peak: the most resident bytes.
    """

    seconds: float
    load_seconds: float
    loaded: int
    mapped: int
    peak: int


def ours(job: Job) -> Callable[[], object]:
    """Loads the encoder of a bundle; returns what encodes the input."""
    from omnijet.runtime.backends.choose import backend_for
    from omnijet.runtime.bundle.folder import Bundle
    from omnijet.runtime.model.encoders import AudioEncoder, VisionEncoder

    assert job.folder is not None
    bundle = Bundle.open(Path(job.folder))
    backend, dims = backend_for(bundle, threads=job.threads), bundle.manifest.dims
    random = np.random.default_rng(0)

    def graph(name: str) -> Any:
        return backend.load(bundle.graph(name), bundle.manifest.contracts[name])

    if job.grid is not None:
        seeing = VisionEncoder(graph("vision_encoder"), dims.vision)
        steps, height, width = job.grid
        shape = steps, height * width, dims.vision.patch_width
        patches = random.standard_normal(shape, np.float32)
        return lambda: seeing.encode(patches, (steps, height, width))
    hearing = AudioEncoder(graph("audio_encoder"), dims.audio)
    mel = random.standard_normal((dims.audio.n_mels, job.frames), np.float32)
    return lambda: hearing.encode([mel])


def theirs(job: Job) -> Callable[[], object]:
    """Makes an encoder of transformers in f32; returns what encodes the input."""
    import torch
    from transformers import Qwen2_5OmniConfig
    from transformers.modeling_utils import no_init_weights
    from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as reference

    from omnijet.export.synthetic.presets import preset

    torch.set_num_threads(job.threads)
    config = Qwen2_5OmniConfig(**preset(job.preset)).thinker_config
    kind, own = (
        (reference.Qwen2_5OmniVisionEncoder, config.vision_config)
        if job.grid is not None
        else (reference.Qwen2_5OmniAudioEncoder, config.audio_config)
    )
    with no_init_weights():
        encoder = kind._from_config(own, attn_implementation="sdpa", dtype=torch.float32).eval()
    with torch.no_grad():
        for value in encoder.parameters():
            value.normal_(0, 0.02)
    if job.grid is not None:
        steps, height, width = job.grid
        patches = torch.randn(steps * height * width, own.in_channels * 2 * own.patch_size**2)
        return lambda: torch.no_grad()(encoder)(patches, torch.tensor([[steps, height, width]]))
    mel = torch.randn(own.num_mel_bins, job.frames)
    lengths = torch.tensor([job.frames])
    after = (lengths - 1) // 2 + 1
    return lambda: torch.no_grad()(encoder)(mel, feature_lens=lengths, aftercnn_lens=after)


def resident(key: str) -> int:
    """Returns a size from /proc/self/status in bytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"{key}:\s+(\d+) kB", text)
    return 1024 * int(found.group(1)) if found else 0


def main() -> None:
    job = Job(**json.load(sys.stdin))
    began = perf_counter()
    encode = theirs(job) if job.folder is None else ours(job)
    load_seconds = perf_counter() - began
    times = []
    for _ in range(job.rounds):
        began = perf_counter()
        encode()
        times.append(perf_counter() - began)
    found = Measured(
        min(times), load_seconds, resident("VmRSS"), resident("RssFile"), resident("VmHWM")
    )
    print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
