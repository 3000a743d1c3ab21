"""`python -m tools.bench.where BUNDLE GRAPH`: where the time of a graph goes on the CPU.

ONNX Runtime's own profiler counts each operator of a run; the table joins them by kind and by the
weight that they read, over all layers. Examples:

    python -m tools.bench.where 3B thinker_step --rows 1 --filled 2048
    python -m tools.bench.where 3B thinker_step --rows 512
    python -m tools.bench.where 3B dit_step --frames 96

The bytes are those of the weights in the file, so that GB/s says how near a product is to memory.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
from rich.console import Console
from rich.table import Table

from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.image import image_patches, load_image
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine
from tools.bench.parts.decoders import Stepper, read

DECODERS = {"thinker_step": "thinker", "talker_step": "talker"}
GRAPHS = (*DECODERS, "dit_step", "vocoder", "audio_encoder", "vision_encoder")
PICTURE = (480, 640)
SMALLEST_WEIGHT = 4096  # bytes: less is a constant, which names no part
LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
EXTRA = re.compile(r"_(kernel_time|fence_before|fence_after)$")


@dataclass(frozen=True, slots=True)
class Share:
    """Operators of one kind that read weights of one name.

    Attributes:
        part: the weight's name, with * for the layer; empty without a weight.
        calls: a run.
        us: microseconds a run.
        bytes: of the weights that a run reads.
    """

    kind: str
    part: str
    calls: int
    us: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Node:
    """What the file says of an operator: the largest weight that it reads, and all its bytes."""

    part: str
    bytes: int


class Profiled:
    """The sessions that were made while the profiler was on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions: list[tuple[Any, Any]] = []  # the model as it was given, the session

    def events(self) -> tuple[Any, list[dict[str, Any]]]:
        """Ends the profile of the last session; returns its model and the operators' events."""
        source, session = self.sessions[-1]
        found = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return source, [event for event in found if event.get("cat") == "Node"]


@contextmanager
def profiling(folder: Path) -> Iterator[Profiled]:
    """Turns ONNX Runtime's profiler on for the sessions that are made inside."""
    made = Profiled(folder)
    options, sessions = onnxruntime.SessionOptions, onnxruntime.InferenceSession

    def profiled_options() -> Any:
        given = options()
        given.enable_profiling = True
        given.profile_file_prefix = str(folder / "profile")
        return given

    def profiled_session(source: Any, *given: Any, **named: Any) -> Any:
        session = sessions(source, *given, **named)
        made.sessions.append((source, session))
        return session

    onnxruntime.SessionOptions, onnxruntime.InferenceSession = profiled_options, profiled_session
    try:
        yield made
    finally:
        onnxruntime.SessionOptions, onnxruntime.InferenceSession = options, sessions


def nodes(source: Any) -> dict[str, Node]:
    """Reads which weights the operators of a file use; weights themselves are not read.

    Args:
        source: the path of a model, or its bytes.
    """
    model = (
        onnx.load_from_string(source)
        if isinstance(source, bytes)
        else onnx.load(source, load_external_data=False)
    )
    weights = {tensor.name: size_of(tensor) for tensor in model.graph.initializer}
    behind: dict[str, list[str]] = {}  # what an operator that only unpacks makes -> its weights
    found = {}
    for node in model.graph.node:
        used = [name for one in node.input for name in behind.get(one, [one]) if name in weights]
        if node.op_type in ("DequantizeLinear", "Cast", "Transpose") and used:
            behind[node.output[0]] = used
        sizes = {name: weights[name] for name in used}
        largest = max(sizes, key=sizes.__getitem__, default="")
        part = LAYER.sub("*", largest) if sizes.get(largest, 0) >= SMALLEST_WEIGHT else ""
        found[node.name] = Node(part, sum(sizes.values()))
    return found


def size_of(tensor: onnx.TensorProto) -> int:
    """Returns the bytes of a weight, wherever they lie."""
    external = {entry.key: entry.value for entry in tensor.external_data}
    return int(external["length"]) if "length" in external else tensor.ByteSize()


def shares(events: Sequence[Mapping[str, Any]], known: Mapping[str, Node]) -> list[Share]:
    """Joins the events of a profile by kind and part; the longest comes first.

    An operator's time is the median over the runs without the first, which plans and allocates.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if "op_name" in event["args"]:
            name = EXTRA.sub("", event["name"])
            times.setdefault((event["args"]["op_name"], name), []).append(event["dur"])
    joined: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for (kind, name), spent in times.items():
        node = known.get(name) or known.get(name.split("/")[0]) or Node("", 0)
        one = median(spent[1:] or spent), node.bytes
        joined.setdefault((kind, node.part), []).append(one)
    found = [
        Share(*key, len(each), sum(us for us, _ in each), sum(size for _, size in each))
        for key, each in joined.items()
    ]
    return sorted(found, key=lambda share: -share.us)


def table_of(found: Sequence[Share], title: str, least: float = 0.005) -> Table:
    """Returns the shares above `least` of the whole, and the sum of the others."""
    whole = sum(share.us for share in found) or 1.0
    table = Table("operator", "weights", "calls", "ms a run", "share", "GB/s", title=title)
    small = [share for share in found if share.us < least * whole]
    for share in found[: len(found) - len(small)]:
        rate = f"{share.bytes / share.us / 1e3:.1f}" if share.part else ""
        table.add_row(
            share.kind, share.part, str(share.calls), f"{share.us / 1e3:.2f}",
            f"{share.us / whole:.1%}", rate,
        )  # fmt: skip
    if small:
        us = sum(share.us for share in small)
        calls = sum(share.calls for share in small)
        table.add_row("all others", "", str(calls), f"{us / 1e3:.2f}", f"{us / whole:.1%}", "")
    table.add_section()
    table.add_row("together", "", "", f"{whole / 1e3:.2f}", "", "")
    return table


def call(omni: Omni, graph: str, rows: int, filled: int, frames: int) -> Callable[[], object]:
    """Returns one run of a graph."""
    from tools.bench.parts import sound  # imports torch, which only speech needs here

    model, rng = omni.model, np.random.default_rng(0)
    if graph in DECODERS:
        part = getattr(model, DECODERS[graph])
        table = part.embedding if graph == "thinker_step" else part.codec_embedding
        if rows > 1:
            return lambda: read(part.decoder, table, rows, filled)
        stepper = Stepper(part.decoder, table, filled + 1)
        return lambda: stepper.run(1)
    if graph in ("dit_step", "vocoder"):
        noise = rng.standard_normal((frames, model.dims.dit.mel), dtype=np.float32)
        if graph == "vocoder":
            return sound.vocoding(omni, noise)
        codes = rng.integers(0, model.dims.codec.bos, frames // model.dims.dit.repeats)
        return sound.evaluation(omni, codes, noise)
    if graph == "audio_encoder":
        mel = rng.standard_normal((model.dims.audio.n_mels, frames), dtype=np.float32)
        return lambda: model.ears.encode([mel])
    pixels = rng.integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    patches, grid = image_patches(load_image(pixels), model.preprocessing)
    return lambda: model.eyes.encode([patches], grid)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.where", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bundle", type=Path)
    parser.add_argument("graph", choices=GRAPHS)
    parser.add_argument("--rows", type=whole_number(1), default=1, help="new rows of a decoder")
    parser.add_argument("--filled", type=whole_number(0), default=0, help="rows in its cache")
    parser.add_argument("--frames", type=whole_number(1), default=96, help="of mel, for the others")
    parser.add_argument("--runs", type=whole_number(1), default=8, metavar="N")
    options = parser.parse_args(arguments)
    print(machine())
    try:
        with (
            tempfile.TemporaryDirectory(prefix="omnijet-bench-") as scratch,
            profiling(Path(scratch)) as profiled,
            Omni.open(options.bundle) as omni,
        ):
            run = call(omni, options.graph, options.rows, options.filled, options.frames)
            for _ in range(options.runs + 1):
                run()
            source, events = profiled.events()
            found = shares(events, nodes(source))
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    Console(width=120).print(table_of(found, f"{options.graph} of {options.bundle.name}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
