"""The command `omnijet eval BUNDLE`, which scores a bundle of Omnijet-nano.

It measures hearing, seeing, watching, conversing and speaking in conversations that were not
used in training.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.nano.evaluation.answers import Failure, answer_scores
from omnijet.nano.evaluation.heldout import HELD_OUT, SKILLS, HeldOutItem, open_set
from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.nano.evaluation.scores import Score
from omnijet.nano.evaluation.speech import speech_scores
from omnijet.nano.world.words import WORDS
from omnijet.runtime.bundle.dims import no_voice
from omnijet.runtime.bundle.manifest import hash_file
from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import (
    add_format,
    print_json,
    print_table,
    say,
    stage_progress,
    whole_number,
)
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import json_shown, show
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.omni import Omni


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument(
        "--set", type=Path, default=HELD_OUT, metavar="ZIP", help="another held-out set"
    )
    parser.add_argument(
        "--skill", choices=SKILLS, action="append", help="score this one alone; may repeat"
    )
    parser.add_argument(
        "--items", type=whole_number(1), metavar="N", help="most items of each skill"
    )
    parser.add_argument("--greedy", action="store_true", help="no sampling in the Talker")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all results there")
    add_backend(parser)
    add_format(parser)


def run(args: Namespace) -> int:
    """Prints a row per score with its 95 % interval."""
    if args.out is not None:
        require_output(args.out)
    omni = opened(args)
    _warn_if_not_nano(omni)
    with open_set(args.set) as items:
        chosen = _sayable(omni, _chosen(items, args), args)
        _check_speech(omni, chosen)
        scores, failures = _score(omni, chosen, args.greedy)
    results = _results(args, omni, chosen, scores, failures)
    if args.out is not None:
        write_whole(args.out, f"{json_shown(results)}\n".encode())
    if args.format == "json":
        print_json(results)
    else:
        print_table(_table(scores, results["bundle"]))
    return 0


def _warn_if_not_nano(omni: Omni) -> None:
    """Warns if the tokenizer splits words of the world; Omnijet-nano has a token for each word."""
    split = [word for word in WORDS if len(omni.model.tokenizer.encode(f" {word}")) > 1]
    if split:
        show(
            f"omnijet: this bundle is not Omnijet-nano: its tokenizer splits {len(split)} of the "
            f"{len(WORDS)} words of the world; the scores say little about it",
            file=sys.stderr,
        )


def _chosen(items: Sequence[HeldOutItem], args: Namespace) -> list[HeldOutItem]:
    """Returns the items of the requested skills.

    Raises:
        OmnijetError: The set has no item of a requested skill.
    """
    held = {item.skill for item in items}
    if lacking := [skill for skill in args.skill or () if skill not in held]:
        raise OmnijetError(
            "the held-out set has no item of a skill",
            where=args.set,
            expected="--skill " + " or ".join(skill for skill in SKILLS if skill in held),
            got=", ".join(lacking),
        )
    skills = args.skill or SKILLS
    most = len(items) if args.items is None else args.items
    return [item for item in items if item.skill in skills and item.number < most]


def _sayable(omni: Omni, items: list[HeldOutItem], args: Namespace) -> list[HeldOutItem]:
    """Leaves out what a bundle without a voice would have to say.

    Raises:
        OmnijetError: Speaking is asked for by name.
    """
    if omni.model.dims.has_voice:
        return items
    rest = [item for item in items if item.skill != "speak"]
    if "speak" in (args.skill or ()) or not rest:
        raise no_voice(omni.bundle.folder, "a question that is answered aloud")
    if len(rest) < len(items):
        say("this bundle has no voice: speaking is not scored")
    return rest


def _check_speech(omni: Omni, chosen: Sequence[HeldOutItem]) -> None:
    """Reports a missing recogniser or voice before the first question instead of after the last."""
    spoken = [item for item in chosen if item.skill == "speak"]
    if spoken:
        Recogniser()
    for voice in {item.voice for item in spoken}:
        omni.bundle.voice_id(voice)


def _score(
    omni: Omni, chosen: list[HeldOutItem], greedy: bool
) -> tuple[list[Score], list[Failure]]:
    with stage_progress() as report:
        scores, failures = answer_scores(omni, chosen, report)
        spoken, misheard = speech_scores(omni, chosen, greedy, report)
    return scores + spoken, failures + misheard


def _results(
    args: Namespace,
    omni: Omni,
    items: list[HeldOutItem],
    scores: list[Score],
    failures: list[Failure],
) -> dict[str, Any]:
    manifest = omni.bundle.manifest
    return {
        "bundle": omni.bundle.folder.resolve().name,
        "model": manifest.name,
        "precision": manifest.precision,
        "provenance": manifest.provenance,
        "set_sha256": hash_file(args.set).sha256,
        "greedy": args.greedy,
        "items": len(items),
        "scores": [asdict(score) for score in scores],
        "failures": [asdict(failure) for failure in failures],
    }


def _table(scores: list[Score], bundle: str) -> Table:
    table = Table("score", "", "%", "95 % interval", "items", title=f"{bundle}: held-out set")
    for column in table.columns[2:]:
        column.justify = "right"
    for score in scores:
        interval = f"{100 * score.low:.1f} to {100 * score.high:.1f}"
        table.add_row(
            score.name, score.kind, f"{100 * score.value:.1f}", interval, str(score.items)
        )
    return table
