"""Goes through the steps: what is done is skipped, what was cut is continued, the rest is made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omnijet.deployment.deploy import keys
from omnijet.deployment.deploy.events import Event, Told
from omnijet.deployment.deploy.steps import STEPS, Step
from omnijet.deployment.deploy.verb import Ran, run_verb
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.errors import OmnijetError

UNCHANGED = "nothing changed"
MADE_BEFORE = "made before it was copied here"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a step stands before it is walked to.

    Attributes:
        state: "waits": another machine must do it.
    """

    step: Step
    state: Literal["done", "to do", "skipped", "waits"]
    why: str


class Walk:
    """One run of a deployment on one machine.

    Args:
        resumes: whether what travelled here is taken as it is: its inputs stayed elsewhere.
    """

    def __init__(self, work: Work, told: Told, *, resumes: bool = False) -> None:
        self._work, self._told, self._resumes = work, told, resumes

    def standing(self, step: Step) -> Standing:
        """Says what would become of a step now."""
        work = self._work
        if self._resumes and not step.on_device and work.floats is None and self._arrived():
            if work.journal.is_done(step.name):
                return Standing(step, "done", MADE_BEFORE)
            return Standing(step, "skipped", "the machine that the bundle is from did without it")
        if step.on_device and work.host:
            return Standing(step, "waits", f"on {work.host}")
        why = step.idle(work)
        if why is not None:
            return Standing(step, "waits" if step.on_device else "skipped", why)
        record, output = work.journal.get(step.name), step.output(work)
        if record is None or not output:
            return Standing(step, "to do", "never done" if record is None else "not finished")
        if record.key != step.key(work):
            return Standing(step, "to do", "its inputs changed")
        if record.state == "begun" and output != record.before:
            return Standing(step, "done", "finished by the run that was cut")
        if record.state != "done" or output != record.output:
            return Standing(step, "to do", "not finished" if output == record.before else "changed")
        return Standing(step, "done", UNCHANGED)

    def standings(self, steps: Sequence[Step] = STEPS) -> list[Standing]:
        """Says how all steps stand; what is made anew changes what comes after it."""
        found = [self.standing(step) for step in steps]
        anew = False
        for place, one in enumerate(found):
            if anew and one.state == "done" and one.step.name != "plan":
                found[place] = Standing(one.step, "to do", "follows what is made anew")
            anew = anew or (one.state == "to do" and one.step.name in ("export", "quantize"))
        return found

    def go(self, steps: Sequence[Step]) -> None:
        """Does the steps one after another.

        Raises:
            OmnijetError: a step fails; those before it stay done.
        """
        for step in steps:
            self._do(self.standing(step))

    def _do(self, one: Standing) -> None:
        step, work = one.step, self._work
        if one.state == "to do":
            self._make(step)
        elif one.state == "done":
            record = work.journal.get(step.name)
            if record is not None and record.state == "begun":
                work.journal.adopt(step.name, step.output(work))
            self._told(Event("done", step.name, one.why))
        elif one.state == "skipped":
            if not self._resumes:
                work.journal.skip(step.name, one.why, work.here.name)
            self._told(Event("skipped", step.name, one.why))
        elif not work.host:
            if not work.journal.is_done(step.name):  # by another machine
                work.journal.skip(step.name, one.why, work.here.name)
            self._told(Event("waits", step.name, one.why))

    def _make(self, step: Step) -> None:
        work, name = self._work, step.name
        arguments = step.arguments(work)
        self._told(Event("begun", name))
        began = time.monotonic()
        work.journal.begin(name, step.key(work), step.output(work), work.here.name)
        is_cut = True
        try:
            ran = run_verb(
                arguments, work.folder.scratch,
                lambda what, done, total: self._told(
                    Event("progress", name, what, max(done, 0), max(total, 0))
                ),
                lambda line: self._told(Event("said", name, line)),
            )  # fmt: skip
            is_cut = False
            work.folder.log(name, _log_of(arguments, ran))
            if ran.code not in step.codes:
                raise _failed(step, ran, work)
            facts = step.save(work, ran)
            output = step.output(work)
            if not output:
                raise _nothing_made(step, work)
        except BaseException:
            work.journal.fail(name, time.monotonic() - began, is_cut=is_cut)
            raise
        work.journal.end(
            name, output=output, seconds=ran.seconds, peak_bytes=ran.peak_bytes,
            took_over=ran.took_over, facts=facts,
        )  # fmt: skip
        self._told(Event("done", name, _what_was_taken_over(ran), seconds=ran.seconds))

    def _arrived(self) -> bool:
        """Returns whether the bundle is the one that its maker noted."""
        work = self._work
        maker = "quantize" if work.order.is_quantized else "export"
        record, made = work.journal.get(maker), work.made
        return (
            record is not None
            and made is not None
            and record.state == "done"
            and record.output == keys.identity(made)
        )


def _what_was_taken_over(ran: Ran) -> str:
    return "; ".join(line.removeprefix("WARNING: ") for line in ran.took_over)


def _log_of(arguments: Sequence[str], ran: Ran) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{when} omnijet {' '.join(arguments)}", *ran.said, *ran.result.splitlines()[:2000]]
    return "\n".join([*lines, f"exit code {ran.code} after {ran.seconds:.1f} s", "", ""])


def _failed(step: Step, ran: Ran, work: Work) -> OmnijetError:
    begins = [place for place, line in enumerate(ran.said) if line.startswith("omnijet: ")]
    error = ran.said[begins[-1] :] if begins else ran.said[-12:]
    fix = "mend that, and give the same command line again: what is finished stays"
    got = "\n".join(error).removeprefix("omnijet: ") or "it said nothing"
    if ran.code < 0:
        got = f"signal {-ran.code} ended it" + (f"\n{got}" if ran.said else "")
    if ran.code == -9:
        got += "\nmost often the system does so for want of memory"
        fix = "close other programs, or add swap; then " + fix.partition("and ")[2]
    return OmnijetError(
        f"`omnijet {step.name}` did not succeed",
        where=work.folder.logs / f"{step.name}.log",
        got=got,
        fix=fix,
    )


def _nothing_made(step: Step, work: Work) -> OmnijetError:
    return OmnijetError(
        f"`omnijet {step.name}` ended well and left no output",
        where=work.folder.root,
        got="its output is missing or damaged: somebody else may work in this folder",
        fix="give the same command line again",
    )
