"""`omnijet bench BUNDLE`: measures stage times and the host's share of a decode step."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import add_format, print_json, print_table, whole_number
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.files.printable import show
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.machine import machine
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.talk.reply import Reply

QUESTION = "Who are you, and what can you see and hear?"
DECODING = ("thinker_decode", "talker_decode")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--runs", type=whole_number(1), default=7, metavar="N", help="counted runs")
    parser.add_argument(
        "--threads", type=whole_number(0), default=0, metavar="N", help="threads; 0: one per core"
    )
    parser.add_argument(
        "--text-tokens", type=whole_number(2), default=64, metavar="N", help="text tokens per reply"
    )
    parser.add_argument(
        "--codes", type=whole_number(3), default=101, metavar="N", help="codec tokens per reply"
    )
    add_backend(parser)
    add_format(parser)


@dataclass(frozen=True, slots=True)
class Steps:
    """One decode stage over the steps of all runs: medians in microseconds per step."""

    count: int
    total_us: float
    graph_us: float
    host_us: float  # everything outside the graph call


def run(args: Namespace) -> int:
    """Prints medians over the runs, and the machine."""
    omni = opened(args, args.threads)
    replies = [_ask(omni, args.text_tokens, args.codes) for _ in range(args.runs + 1)][1:]
    stages = {
        stage: median(reply.timings_ms[stage] for reply in replies)
        for stage in replies[0].timings_ms
    }
    steps = {
        stage: made
        for stage in DECODING
        if stage in stages and (made := _steps(stage, replies)) is not None
    }
    seconds = replies[0].audio.size / replies[0].sample_rate_hz
    rtf = sum(stages.values()) / 1e3 / seconds if seconds else None
    if args.format == "json":
        facts = _facts(args, omni.model.backend.name, stages, steps, seconds, rtf)
        tokens = median(reply.tokens_per_step for reply in replies)
        print_json({**facts, "tokens_per_step": tokens})
        return 0
    show(f"{machine()}, {omni.model.backend.name}")
    table = Table("stage", "ms", "steps", "µs a step", "in the graph", "host", title="medians")
    for stage, ms in stages.items():
        row = [stage, f"{ms:.2f}"]
        if (step := steps.get(stage)) is not None:
            row += [str(step.count), f"{step.total_us:.0f}", f"{step.graph_us:.0f}"]
            row += [f"{step.host_us:.0f}"]
        table.add_row(*row)
    print_table(table)
    tokens = median(reply.tokens_per_step for reply in replies)
    show(f"{tokens:.2f} tokens of the text a step")
    if rtf is not None:
        show(f"{seconds:.2f} s of speech, real-time factor {rtf:.3f} ({args.runs} runs)")
    return 0


def _ask(omni: Omni, text_tokens: int, codes: int) -> Reply:
    messages = [
        {"role": "system", "content": SPEECH_SYSTEM_PROMPT},
        {"role": "user", "content": QUESTION},
    ]
    return omni.generate(
        messages, seed=0, lookup=False, max_text_tokens=text_tokens, max_codes=codes
    )


def _steps(stage: str, replies: list[Reply]) -> Steps | None:
    """Returns the medians over what called the graph: not the first token, nor a true guess."""
    steps = [
        [one for one in zip(times.total_us, times.graph_us, strict=True) if one[1] > 0]
        for times in (reply.steps[stage] for reply in replies)
    ]
    if not any(steps):
        return None
    total, graph = zip(*(one for made in steps for one in made), strict=True)
    host = [t - g for t, g in zip(total, graph, strict=True)]
    return Steps(len(steps[0]), median(total), median(graph), median(host))


def _facts(
    args: Namespace,
    backend: str,
    stages: dict[str, float],
    steps: dict[str, Steps],
    seconds: float,
    rtf: float | None,
) -> dict[str, Any]:
    return {
        "machine": machine(),
        "backend": backend,
        "runs": args.runs,
        "stages_ms": stages,
        "steps": {stage: asdict(step) for stage, step in steps.items()},
        "speech_s": seconds,
        "real_time_factor": rtf,
    }
