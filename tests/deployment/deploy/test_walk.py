"""Steps are done once: what is done is skipped, what was cut goes on, what changed is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnijet.deployment.deploy import walk
from omnijet.deployment.deploy.journal import Journal
from omnijet.deployment.deploy.steps import NAMES, STEPS
from omnijet.deployment.deploy.walk import Walk
from omnijet.runtime.errors import OmnijetError
from tests.deployment.deploy.works import Commands, Told, Writes, again, work


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(walk, "run_verb", made)
    return made


def chain() -> list[Writes]:
    first = Writes("export")
    second = Writes("quantize", first)
    return [first, second, Writes("build", second, on_device=True)]


def test_nothing_is_done_twice(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    Walk(at, Told()).go(steps)
    assert commands.ran == ["export", "quantize", "build"]
    told = Told()
    Walk(again(at), told).go(steps)
    assert commands.ran == ["export", "quantize", "build"]
    assert [(one.kind, one.text) for one in told] == [("done", walk.UNCHANGED)] * 3


def test_a_changed_input_makes_what_follows_anew(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    Walk(at, Told()).go(steps)
    steps[1].option = "b"
    assert [one.state for one in Walk(again(at), Told()).standings(steps)] == [
        "done", "to do", "to do",
    ]  # fmt: skip
    Walk(again(at), Told()).go(steps)
    assert commands.ran == ["export", "quantize", "build", "quantize", "build"]


@pytest.mark.parametrize("step", ["export", "quantize", "build"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_cut_goes_on(
    tmp_path: Path, commands: Commands, step: str, when: str
) -> None:
    """After the output is in its place a kill costs nothing: the next run takes it over."""
    steps, at = chain(), work(tmp_path / "d")
    commands.dies = lambda name, moment: (
        KeyboardInterrupt() if (name, moment) == (step, when) else None
    )
    with pytest.raises(KeyboardInterrupt):
        Walk(at, Told()).go(steps)
    commands.dies = lambda name, moment: None
    at = again(at)
    record = at.journal.get(step)
    assert record is not None and record.state == "begun"
    assert [one.ended for one in record.attempts] == ["cut"]
    Walk(at, Told()).go(steps)
    assert sorted(commands.ran) == sorted(["export", "quantize", "build"])
    assert all(Journal.read(at.folder.root).is_done(one.name) for one in steps)


def test_a_kill_that_notes_nothing_is_taken_over_too(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    at.journal.begin("export", steps[0].key(at), "", "pc")
    steps[0].file(at).write_text("export a")  # the command ended, and then the power failed
    Walk(again(at), Told()).go(steps)
    assert commands.ran == ["quantize", "build"]


def test_an_output_of_before_is_not_taken_over(tmp_path: Path, commands: Commands) -> None:
    """A step that was cut before it wrote anything leaves the old output where it was."""
    steps, at = chain(), work(tmp_path / "d")
    Walk(at, Told()).go(steps)
    steps[0].option = "b"
    at.journal.begin("export", steps[0].key(at), steps[0].output(at), "pc")
    Walk(again(at), Told()).go(steps[:1])
    assert commands.ran.count("export") == 2
    assert steps[0].output(at) == "export b"


def test_an_output_that_was_lost_is_made_again(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    Walk(at, Told()).go(steps)
    steps[1].file(at).unlink()
    Walk(again(at), Told()).go(steps)
    assert commands.ran == ["export", "quantize", "build", "quantize"]


def test_a_damaged_journal_costs_work_and_no_fault(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    Walk(at, Told()).go(steps)
    (at.folder.root / "steps.json").write_text('{"format": "omnijet-steps-1", "steps": 3}')
    Walk(again(at), Told()).go(steps)
    assert len(commands.ran) == 6


def test_a_fault_is_told_in_the_words_of_the_command(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d")
    commands.code = 2
    commands.said = ("WARNING: x", "omnijet: the disk is full", "  fix:      free space")
    with pytest.raises(OmnijetError, match="`omnijet export` did not succeed") as raised:
        Walk(at, Told()).go(steps)
    assert raised.value.got == "the disk is full\n  fix:      free space"
    assert "the same command line" in str(raised.value)
    record = Journal.read(at.folder.root).get("export")
    assert record is not None and record.attempts[-1].ended == "failed"
    assert "the disk is full" in (at.folder.logs / "export.log").read_text()


def test_a_kill_for_want_of_memory_says_so(tmp_path: Path, commands: Commands) -> None:
    commands.code = -9
    with pytest.raises(OmnijetError, match="signal 9 ended it") as raised:
        Walk(work(tmp_path / "d"), Told()).go(chain())
    assert "memory" in str(raised.value)


def test_the_device_does_its_steps(tmp_path: Path, commands: Commands) -> None:
    steps, at = chain(), work(tmp_path / "d", host="me@jetson")
    assert Walk(at, Told()).standings(steps)[-1].why == "on me@jetson"
    Walk(at, Told()).go(steps)
    assert commands.ran == ["export", "quantize"]


def test_this_machine_stops_where_the_device_must_go_on(tmp_path: Path) -> None:
    at = work(tmp_path / "d", target="agx-orin-64-jp62", recipe="floats")
    states = {one.step.name: one.state for one in Walk(at, Told()).standings()}
    assert states["export"] == "to do"
    assert states["quantize"] == states["check"] == "skipped"
    assert states["build"] == states["profile"] == "waits"
    without = work(tmp_path / "e", rtx=False)
    why = {one.step.name: one.why for one in Walk(without, Told()).standings()}
    assert why["build"] == "TensorRT-RTX is not installed here"


def test_steps_are_verbs() -> None:
    from omnijet.cli import VERBS

    assert NAMES == ("plan", "export", "quantize", "check", "build", "profile")
    assert set(NAMES) <= set(VERBS)
    assert [step.name for step in STEPS if step.on_device] == ["build", "profile"]
