"""The parts of the check: each is a process of its own, which may fail or crash alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omnijet.runtime.backends.ort_installed import reads_graphs
from tools.gpu_check.ways import ROOT, Way

GRAPHS = ("audio_encoder", "vision_encoder", "thinker_step", "talker_step", "dit_step", "vocoder")
BF16 = ", bf16"
"""Behind the name of a graph; DiT and vocoder are in f32 whatever the bundle is in."""
ASKED = "question"
SHORT = tuple(word for name in (ASKED, "picture", "clip") for word in ("--scenario", name))
PEER = "transformers"
MINUTE = 60
Verdict = Literal["passed", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Part:
    """One command.

    Attributes:
        name: The name of the part.
        command: Arguments for the Python interpreter.
        needs: Names of parts that must pass first.
        way: The backend that the part checks.
        minutes: The time limit.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    way: str = ""
    minutes: float = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a part; `facts` is the JSON object that it printed, if any."""

    part: Part
    verdict: Verdict
    seconds: float = 0.0
    said: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def nano_parts(
    scratch: Path, found: Sequence[Way], given: Path | None = None, reference: Path | None = None
) -> list[Part]:
    """Returns the parts for Omnijet-nano: parity of each graph, answers, and profiles.

    Args:
        scratch: The folder for bundles.
        found: The backends to check.
        given: An f16 bundle that was exported elsewhere, for a device without torch.
        reference: Outputs that `parity` wrote elsewhere; without them, parity is skipped where
            ONNX Runtime is too old for the graphs.
    """
    compared = GRAPHS if reference is not None or reads_graphs() else ()
    other = () if reference is None else ("--reference", str(reference))
    bundle = str(given or scratch / "nano")
    export = ("export", str(ROOT / "nano" / "checkpoint"), bundle, "--dtype", "f16")
    parts = [] if given else [_omnijet("nano: export", export)]
    for way in found:
        needs = _built(parts, "nano", bundle, way)
        for graph in compared:
            command = ("-m", "tools.gpu_check.parity", bundle, graph, *way.options, *other)
            parts.append(Part(f"{way.name}: parity of {graph}", command, needs, way.name))
        talk = ("-m", "tools.gpu_check.talk", bundle, *way.options)
        parts.append(Part(f"{way.name}: demo", talk, needs, way.name))
        profile = ("profile", bundle, *way.options, *SHORT, "--runs", "3", "--format", "json")
        parts.append(_omnijet(f"{way.name}: profile", profile, needs, way.name))
    if reads_graphs():
        ready = tuple(part.name for part in parts if not part.way)
        command = ("-m", "tools.gpu_check.cuda", bundle)
        parts.append(Part("what runs engines, without TensorRT", command, ready))
    if not given and reads_graphs():
        parts += _bf16_parts(scratch, found)
    return parts


def _bf16_parts(scratch: Path, found: Sequence[Way]) -> list[Part]:
    """Returns the parity of engines in bf16: ONNX Runtime's providers lack kernels for it."""
    bundle = str(scratch / "nano-bf16")
    export = ("export", str(ROOT / "nano" / "checkpoint"), bundle, "--dtype", "bf16")
    parts = [_omnijet("nano: export bf16", export)]
    for way in found:
        if way.option == "--engines":
            needs = _built(parts, "nano bf16", bundle, way)
            for graph in GRAPHS[:4]:
                command = ("-m", "tools.gpu_check.parity", bundle, graph, *way.options)
                parts.append(Part(f"{way.name}: parity of {graph}{BF16}", command, needs, way.name))
    return parts if len(parts) > 1 else []


def full_parts(
    scratch: Path, found: Sequence[Way], recipe: str | None, given: Path | None = None
) -> list[Part]:
    """Returns the parts at the 3B's dimensions: `omnijet bench`; `given` as in `nano_parts`."""
    checkpoint, bundle = str(scratch / "3b-checkpoint"), str(given or scratch / "3b")
    made = str(scratch / "3b-float") if recipe else bundle
    parts = [] if given else [
        _omnijet("3B: synthesize", ("synthesize", "3b", checkpoint), minutes=60),
        _omnijet("3B: export", ("export", checkpoint, made, "--dtype", "f16"),
                 ("3B: synthesize",), minutes=60),
    ]  # fmt: skip
    if recipe and not given:
        quantize = ("quantize", made, bundle, "--recipe", recipe)
        parts.append(_omnijet("3B: quantize", quantize, ("3B: export",), minutes=120))
    for way in found:
        needs = _built(parts, "3B", bundle, way)
        bench = ("bench", bundle, *way.options, "--runs", "3", "--format", "json")
        parts.append(_omnijet(f"{way.name}: bench 3B", bench, needs, way.name, minutes=60))
        profile = ("profile", bundle, *way.options, "--scenario", ASKED, "--runs", "3",
                   "--format", "json")  # fmt: skip
        parts.append(_omnijet(f"{way.name}: profile 3B", profile, needs, way.name, minutes=60))
    peer = ("-m", "tools.gpu_check.peer")
    return [*parts, Part(f"{PEER}: bench 3B", peer, way=PEER)]


def _built(parts: list[Part], size: str, bundle: str, way: Way) -> tuple[str, ...]:
    """Adds the building of engines, where the way needs it; returns what must pass first."""
    ready = tuple(part.name for part in parts if not part.way)[-1:]
    if way.option != "--engines":
        return ready
    name = f"{way.name}: build {size}"
    build = ("build", bundle, "--target", way.value)
    parts.append(_omnijet(name, build, ready, way.name, minutes=120))
    return (name,)


def _omnijet(
    name: str, command: tuple[str, ...], needs: tuple[str, ...] = (), way: str = "",
    minutes: float = 20,
) -> Part:  # fmt: skip
    return Part(name, ("-m", "omnijet", *command), needs, way, minutes)


def run_all(parts: Sequence[Part], log: Path) -> list[Outcome]:
    """Runs all parts, whatever happens to one of them; their output goes to a log."""
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        lacking = [name for name in part.needs if outcomes[name].verdict != "passed"]
        if lacking:
            outcomes[part.name] = Outcome(part, "not run", said=f"without {lacking[0]}")
        else:
            print(f"$ python {' '.join(part.command)}", file=sys.stderr, flush=True)
            outcomes[part.name] = run_one(part, log)
        done = outcomes[part.name]
        print(f"{done.verdict:<8} {part.name} {done.said}".rstrip(), file=sys.stderr, flush=True)
    return list(outcomes.values())


def run_one(part: Part, log: Path) -> Outcome:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *part.command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    late = ""
    try:
        said, errors = process.communicate(timeout=MINUTE * part.minutes)
    except subprocess.TimeoutExpired:
        late = f"not done in {part.minutes} min"
        os.killpg(process.pid, signal.SIGKILL)  # with its children: a builder has a worker
        said, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    seconds = time.monotonic() - began
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n$ python {' '.join(part.command)}\n{said}{errors}")
    facts = _facts(said)
    if process.returncode == 0:
        return Outcome(part, "passed", seconds, str(facts.get("said", "")), facts)
    return Outcome(part, "failed", seconds, late or _why(process.returncode, errors), facts)


def _facts(text: str) -> dict[str, Any]:
    """Returns the JSON object that the output is, or ends with."""
    for candidate in (text, *text.strip().splitlines()[-1:]):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _why(code: int, errors: str) -> str:
    """Returns the reason of a failure: a line of ours ("omnijet:"), else the last line."""
    if code < 0:
        return f"ended by signal {-code}"
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("omnijet:")]
    return (ours or lines or [f"exit code {code}"])[-1][:200]
