"""The report holds what steps found, in JSON and in a page that loads nothing, trusts no text."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser
from html.parser import HTMLParser
from pathlib import Path

import pytest

from omnijet.cli import VERBS
from omnijet.deployment.deploy import command
from omnijet.deployment.deploy.figures import figures
from omnijet.deployment.deploy.next_line import copy_line, next_lines, resume_line
from omnijet.deployment.deploy.report import Report
from omnijet.deployment.deploy.report_files import write_report
from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.plan import plan_for
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import RECIPES
from omnijet.runtime.speech.presets import PRESETS
from tests.deployment.deploy.works import work

EVIL = "<script>alert(1)</script>\"'&\x1b[2J"
PROFILE = {"scenarios": {"text": {"latency_ms": {"first_pcm": {"p50": 812.5}}, "rates": {}}}}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def reported(tmp_path: Path) -> tuple[str, dict]:
    at = work(tmp_path / "d", checkpoint=EVIL)
    at.journal.begin("check", "k", "", EVIL)
    at.journal.end("check", output="x", seconds=2.5, peak_bytes=3_000_000, took_over=(EVIL,),
                   facts={"ok": False, "faults": [EVIL]})  # fmt: skip
    at.journal.skip("profile", EVIL, EVIL)
    at.folder.fidelity.write_text(json.dumps({"gate": [
        {"metric": "kl", "meaning": EVIL, "value": 0.25, "tolerance": 0.1, "passed": False},
    ]}))  # fmt: skip
    at.folder.profile.mkdir()
    (at.folder.profile / "profile.json").write_text(json.dumps(PROFILE))
    report = Report.of(at)
    assert report.code == 1
    write_report(report, at.folder)
    return at.folder.page.read_text(), json.loads(at.folder.report.read_text())


def test_the_page(tmp_path: Path) -> None:
    page, _ = reported(tmp_path)
    tags = Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "img", "link", "iframe", "object", "a"}
    assert not tags.attributes & {"src", "href", "onclick"}
    assert "\x1b" not in page and "&lt;script&gt;" in page
    assert not re.search(r"url\(|@import|https?:", page)
    assert "FAILED" in page and "2.5" in page and "0.25" in page and "812" in page


def test_the_json(tmp_path: Path) -> None:
    _, data = reported(tmp_path)
    assert data["ok"] is False and data["faults"] == [EVIL]
    assert data["steps"]["check"]["seconds"] == 2.5
    assert data["steps"]["check"]["attempts"][0]["took_over"] == [EVIL]
    assert data["steps"]["profile"]["state"] == "skipped"
    assert data["fidelity"][0]["value"] == 0.25
    assert {"name": "text: first pcm", "unit": "ms", "predicted": None, "measured": 812.5} in (
        data["figures"]
    )


def test_a_report_of_nothing(tmp_path: Path) -> None:
    report = Report.of(work(tmp_path / "d"))
    assert report.code == 0 and not report.figures
    write_report(report, work(tmp_path / "d").folder)


def test_figures_of_damaged_files() -> None:
    assert figures({}, {"scenarios": [1]}) == ()
    assert figures({}, {"scenarios": {"text": {"latency_ms": {"x": {"p50": "1"}}}}}) == ()


def test_what_is_typed_next_is_understood(tmp_path: Path) -> None:
    for name in ("plain", "it's a", "-x"):
        at = work(tmp_path / name, target="orin-nano-jp62")
        lines = next_lines(at)
        assert any("--on USER@HOST" in line for line in lines)
        assert lines[2].endswith(resume_line(at))
        program, verb, *words = shlex.split(resume_line(at))
        assert (program, verb) == ("omnijet", "deploy") and verb in VERBS
        parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
        command.add_arguments(parser)
        args = parser.parse_args(words)
        assert (tmp_path / args.resume).resolve() == at.folder.root
        rsync = shlex.split(copy_line(at))
        assert rsync[0] == "rsync" and rsync[-2:] == [str(at.folder.root), "USER@HOST:"]
        assert f"--exclude=/{name}/float" in rsync


def test_a_plan_stands_beside_its_profile() -> None:
    """The names of a profile are those of `omnijet.runtime.profiling.measure`."""
    plan = plan_for(
        Model.named("3b").dims, TARGETS["orin-nx-jp72"], RECIPES["orin"], None, PRESETS["balanced"]
    )
    measured = {
        "latency_ms": {"first_pcm": {"p50": 1500.0}},
        "rates": {"text_tokens_per_s": {"p50": 30.0}, "codes_per_s": {"p50": 150.0},
                  "rtf": {"p50": 1.25}},
    }  # fmt: skip
    both = figures(
        plan.to_json(), {"scenarios": {"question": measured}}, {"thinker_step": 2_000_000}
    )
    found, rest = both[:5], both[5:]
    assert all(one.measured is None and one.name.startswith("engine of ") for one in rest)
    assert {one.name for one in found} >= {"engine of thinker_step", "question: rtf"}
    assert all(one.predicted is not None and one.measured is not None for one in found)
    (first,) = (one for one in found if one.name == "question: first pcm")
    assert first.predicted == pytest.approx(1e3 * (plan.first_pcm_s or 0.0))
    assert not figures({"first_pcm_s": 1, "speeds": {"decode": []}}, {})
