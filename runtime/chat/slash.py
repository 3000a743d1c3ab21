"""What begins with a slash: orders to the chat itself."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

ORDERS = {
    "image": ("P", "show a picture"),
    "video": ("P", "show a clip: some of its frames, and its sound"),
    "voice": ("NAME", "let somebody else speak"),
    "reset": ("", "forget the conversation"),
    "save": ("FILE", "write the conversation as JSON, and what was heard as WAV beside it"),
    "help": ("", "show these lines"),
    "quit": ("", "end, as Ctrl-D does"),
}
"""Each order with what follows it and what it does."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order, one of `ORDERS`, with what follows it."""

    name: str
    argument: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that begins as an order and is none."""

    why: str


def read_order(line: str) -> Order | Refused | None:
    """Returns the order in a typed line; None if the line is meant for whoever answers."""
    line = line.strip()
    if not line.startswith("/"):
        return None
    name, _, rest = line[1:].partition(" ")
    argument = _unquoted(rest.strip())
    if name not in ORDERS:
        near = difflib.get_close_matches(name, ORDERS, n=1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists what there is"
        return Refused(f"there is no /{name}: {hint}")
    wanted, _ = ORDERS[name]
    if bool(wanted) != bool(argument):
        how = f"/{name} {wanted}" if wanted else f"/{name} alone"
        return Refused(f"expected {how}")
    return Order(name, argument)


def help_lines(hands_free: bool, microphone: bool) -> list[str]:
    """Returns what can be typed."""
    lines = [f"{f'/{name} {what}'.rstrip():<13} {does}" for name, (what, does) in ORDERS.items()]
    if microphone and hands_free:
        enter = "stop the reply"
    elif microphone:
        enter = "begin to speak, and once more when you have spoken"
    else:
        enter = "stop the reply"
    return [
        *lines,
        f"{'Enter':<13} {enter}",
        f"{'words, Enter':<13} ask what you typed",
        f"{'Ctrl-C':<13} stop the reply, or end if there is none",
    ]


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text
