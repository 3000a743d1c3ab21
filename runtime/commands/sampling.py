"""The options of `omnijet run` that say how tokens are chosen."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import NUMBERS, number_faults
from omnijet.runtime.talk.options import TALKER, THINKER, drawing

_MEANINGS = {
    "temperature": "0 takes the most likely token",
    "top_p": "share of the probability that may be drawn from",
    "top_k": "how many of the most likely tokens may be drawn; 0: no limit",
    "repetition_penalty": "above 1, tokens that came before become less likely",
}


def add_sampling(parser: ArgumentParser) -> None:
    """Adds `--greedy`, and the numbers of the Thinker's and the Talker's sampling."""
    group = parser.add_argument_group(
        "sampling",
        "The text is the most likely one unless --temperature, --top-p or --top-k asks for draws. "
        "Speech is drawn at a temperature of 0.9, top-p 0.8, top-k 40, repetition penalty 1.05.",
    )
    group.add_argument("--greedy", action="store_true", help="no draws, neither text nor speech")
    for prefix, whose in ((THINKER, "text"), (TALKER, "speech")):
        for name, meaning in _MEANINGS.items():
            group.add_argument(
                _option(prefix + name), type=_number(name), metavar="X", help=f"{whose}: {meaning}"
            )


def sampling_options(args: Namespace) -> dict[str, Any]:
    """Returns what was given, by its names in `Options`.

    Raises:
        OmnijetError: `--greedy` is contradicted.
    """
    names = [prefix + name for prefix in (THINKER, TALKER) for name in NUMBERS]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.greedy and (against := drawing(given)):
        options = ", ".join(_option(name) for name in against)
        raise OmnijetError(
            "no draws and draws are asked for at once",
            got=f"--greedy and {options}",
            fix="leave out one or the other",
        )
    return {"greedy": args.greedy, **given}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(name: str) -> Callable[[str], float]:
    """Returns an argument type: a number as `Sampling` has it, or a temperature of 0."""
    if name == "top_k":
        return whole_number(0)

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        faults = number_faults({name: value})
        if faults and not (name == "temperature" and value == 0):
            expected = faults[0].partition(": expected ")[2]
            raise ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse
