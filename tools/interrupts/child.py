"""`python -m tools.interrupts.child FILE ...`: `omnijet ...`, which names its stages in FILE."""

from __future__ import annotations

import sys

from omnijet import cli
from omnijet.runtime.talk.clock import Clock


def main() -> int:
    marks = open(sys.argv.pop(1), "a", buffering=1)  # noqa: SIM115 (open as long as the process)
    stage = Clock.stage
    timed = Clock.timed

    def noted(self, name):  # type: ignore[no-untyped-def]
        marks.write(f"{name}\n")
        return stage(self, name)

    def noted_steps(self, name, *rest):  # type: ignore[no-untyped-def]
        marks.write(f"{name}\n")
        return timed(self, name, *rest)

    Clock.stage, Clock.timed = noted, noted_steps  # type: ignore[method-assign, assignment]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
