"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

State = Literal["ok", "note", "fault", "unknown"]
"""`note`: it works, and could work better, or is worth knowing. `fault`: something will not work.
`unknown`: it could not be found out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check.
        said: what was found, in one or two sentences.
        fix: the line to type on this machine; a fault has one.
        private: parts of `said` and `fix` that tell of the user, such as names of files. No report
            holds them.
    """

    name: str
    state: State
    said: str
    fix: str | None = None
    private: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.state != "fault" or self.fix, self

    def named(self, name: str) -> Finding:
        return replace(self, name=name)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "said": self.said, "fix": self.fix}


def ok(said: str, private: tuple[str, ...] = ()) -> Finding:
    """Returns a finding without a name, as the others do: the table of checks has the names."""
    return Finding("", "ok", said, private=private)


def note(said: str, fix: str | None = None, private: tuple[str, ...] = ()) -> Finding:
    return Finding("", "note", said, fix, private)


def fault(said: str, fix: str, private: tuple[str, ...] = ()) -> Finding:
    return Finding("", "fault", said, fix, private)


def unknown(said: str, fix: str | None = None, private: tuple[str, ...] = ()) -> Finding:
    return Finding("", "unknown", said, fix, private)
