"""The error that users see: what is wrong, where, expected, got, and the fix."""

from __future__ import annotations

_INDENT = " " * 12


class OmnijetError(Exception):
    """A fault in the input, a file or the environment that the user can fix.

    The command line prints it without a traceback and exits with code 2.

    Threads: any thread may use it. It is raised in the thread that called, or that reads a stream.

    Args:
        what: one sentence that says what is wrong.
        where: the file, tensor, option or message that has the fault.
        expected: what would have been right.
        got: what was found instead.
        fix: what to do about it, as a command or an action.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.fix = fix
        super().__init__(str(self))

    def within(self, place: object) -> OmnijetError:
        """Returns the same error, located inside `place`."""
        where = place if self.where is None else f"{place}: {self.where}"
        return OmnijetError(
            self.what, where=where, expected=self.expected, got=self.got, fix=self.fix
        )

    def __str__(self) -> str:
        lines = [_indented(self.what)]
        for label, value in (
            ("where", self.where),
            ("expected", self.expected),
            ("got", self.got),
            ("fix", self.fix),
        ):
            if value is not None:
                lines.append(f"  {label + ':':<10}{_indented(str(value))}")
        return "\n".join(lines)


def _indented(text: str) -> str:
    """Returns a text whose further lines cannot be taken for a line of the error itself."""
    first, *rest = text.split("\n")
    return "\n".join(
        [first, *(line if line.startswith(_INDENT) else _INDENT + line for line in rest)]
    )


class ContractError(OmnijetError):
    """A graph file whose inputs or outputs differ from its contract."""
