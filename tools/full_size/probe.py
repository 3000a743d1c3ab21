"""`python -m tools.full_size.probe BUNDLE speech|sight|thinker`: one run of the largest graphs.

The probes are for full-size bundles, where a whole reply takes minutes. Every output must be finite
and vary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np

from omnijet.runtime.backends.protocol import run_once
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.media.image import image_patches, load_image
from omnijet.runtime.model.decoder import Decoder
from omnijet.runtime.model.encoders import VisionEncoder
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech import dit, solver

CODES = 48  # 96 mel frames, 0.96 s
PROMPT_ROWS = 40


@contextmanager
def timed(name: str) -> Iterator[None]:
    began = perf_counter()
    yield
    print(f"{name}: {1e3 * (perf_counter() - began):.0f} ms")


def alive(name: str, values: Array) -> None:
    deviation = float(values.std())
    print(f"{name}: {values.shape}, standard deviation {deviation:.3g}", flush=True)
    if not np.isfinite(values).all() or deviation < 1e-4:
        raise SystemExit(f"{name} is silent or not finite")


def speech(omni: Omni) -> None:
    """Runs one DiT evaluation of both branches, one vocoder call, and a few Talker rows."""
    rng = np.random.default_rng(0)
    graph = omni.model.backend.load(omni.bundle.graph("dit_step"), contract(omni, "dit_step"))
    tables = dit.DitTables.load(omni.bundle.table, omni.model.dims.dit)
    codes = rng.integers(0, omni.model.dims.codec.bos, CODES)
    frames = CODES * omni.model.dims.dit.repeats
    bound = graph.bind({"branches": 2, "blocks": -(-frames // omni.model.dims.dit.block)})
    voice = omni.bundle.table("voice_Chelsie")
    dit.write_static(bound, tables, codes, voice, frames)
    noise = rng.standard_normal((frames, omni.model.dims.dit.mel), dtype=np.float32)
    for time in solver.time_points()[:3]:
        with timed(f"DiT evaluation, two branches, {frames} frames"):
            velocity = dit.run_branches(bound, tables, time, noise)
    alive("velocity", velocity)
    graph = omni.model.backend.load(omni.bundle.graph("vocoder"), contract(omni, "vocoder"))
    mel = (2 * noise - 4).T[None]
    for _ in range(3):
        with timed(f"vocoder call, {frames} frames"):
            wave = run_once(graph, {"frames": frames}, {"mel": mel})["wave"]
    alive("wave", wave)
    decode(omni, "talker_step", omni.model.dims.talker, "talker_embedding")


def sight(omni: Omni) -> None:
    """Runs the vision encoder on a picture of 1920 x 1080."""
    pixels = np.random.default_rng(2).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    patches, grid = image_patches(load_image(pixels), omni.model.preprocessing)
    path = omni.bundle.graph("vision_encoder")
    graph = omni.model.backend.load(path, contract(omni, "vision_encoder"))
    with timed(f"vision encoder, {len(patches)} patches"):
        features = VisionEncoder(graph, omni.model.dims.vision).encode([patches], grid)
    alive("features", features)


def thinker(omni: Omni) -> None:
    """Runs a prefill and a few decode steps."""
    decode(omni, "thinker_step", omni.model.dims.thinker, "thinker_embedding")


def decode(omni: Omni, name: str, dims: DecoderDims, embedding: str) -> None:
    graph = omni.model.backend.load(omni.bundle.graph(name), contract(omni, name))
    decoder = Decoder(graph, dims, omni.model.context_limit)
    table = omni.bundle.table(embedding)
    ids = np.random.default_rng(1).integers(0, len(table), PROMPT_ROWS)
    positions = np.broadcast_to(np.arange(PROMPT_ROWS), (3, PROMPT_ROWS))
    context = decoder.start(PROMPT_ROWS)
    with timed(f"{name}, prefill of {PROMPT_ROWS} rows"):
        rows = decoder.prefill(context, table[ids].astype(np.float32), positions)
    alive(f"{name} logits", rows.logits)
    for _ in range(3):
        row = table[int(rows.logits.argmax()) % len(table)].astype(np.float32)
        with timed(f"{name}, one decode step"):
            rows = decoder.decode(context, row, context.filled)
    alive(f"{name} logits", rows.logits)


def contract(omni: Omni, name: str) -> GraphContract:
    return omni.bundle.manifest.contracts[name]


PROBES = {"speech": speech, "sight": sight, "thinker": thinker}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.full_size.probe", description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("probe", choices=PROBES)
    args = parser.parse_args(arguments)
    PROBES[args.probe](Omni.open(args.bundle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
