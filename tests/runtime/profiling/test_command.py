"""`omnijet profile` on a random bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.runtime.profiling import trace
from omnijet.runtime.profiling.record import Profile
from tests.command import Capture, refused
from tests.runtime.profiling.profiles import profile, result


def test_profile_measures_and_writes(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    quick = ["--scenario", "text", "--runs", "2", "--warmup", "0", "--out", str(out)]
    assert cli.main(["profile", str(nano[1]), *quick, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "profile.json").read_text())
    found = Profile.read(out).scenarios["text"]
    assert (found.text_tokens, found.codes, found.speech_s) == (24, 100, 2.0)
    pcm = found.latency_ms["first_pcm"]
    assert found.latency_ms["first_code"].p50 < pcm.p50 <= found.latency_ms["whole"].p50
    assert found.steps["talker_decode"].total_us.count == 2 * 99
    floors = Profile.read(out).floors["text"]
    assert set(floors) == set(found.stages_ms) - {"preprocess", "load"}
    tracks = trace.read((out / "trace.json").read_text(), out)
    assert [track.name for track in tracks] == ["text, run 1", "text, run 2"]
    assert sorted(path.name for path in out.iterdir()) == [
        "profile.json", "report.html", "trace.json",
    ]  # fmt: skip
    page = (out / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "timeline of text, run 1" in page


def test_a_table_says_on_what_and_how_far_from_the_floor(
    nano: tuple[Path, Path], capsys: Capture
) -> None:
    quick = ["--scenario", "text", "--runs", "1", "--warmup", "0"]
    assert cli.main(["profile", str(nano[1]), *quick]) == 0
    shown = capsys.readouterr().out
    names = [line.split("  ")[0] for line in shown.splitlines()]
    labels = ["device", "power mode", "clocks", "versions", "bundle", "measured"]
    assert names[: len(labels)] == labels and "manifest sha256" in shown
    assert "first PCM" in shown and "of the floor" in shown and "100 codes" in shown
    assert "resident" in shown
    vocoder = next(line for line in shown.splitlines() if "vocoder, ms" in line)
    assert vocoder.rstrip(" │").endswith("x")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return written(tmp_path / "before.json", profile(result()))


def written(path: Path, made: Profile) -> Path:
    path.write_text(json.dumps(made.to_json()))
    return path


def compared(*options: str | Path) -> int:
    return cli.main(["profile", "--compare", *map(str, options)])


def test_what_is_within_the_tolerance_passes(before: Path, tmp_path: Path, capsys: Capture) -> None:
    after = written(tmp_path / "after.json", profile(result(pcm=115.0)))
    assert compared(before, before) == 0
    assert "PASSED" in capsys.readouterr().out
    assert compared(before, after, "--tolerance", "0.2") == 0
    assert compared(after, before) == 0  # it got better
    assert "-13.0%" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--out", "folder"), ("--scenario", "text")])
def test_a_comparison_measures_nothing(
    before: Path, capsys: Capture, option: tuple[str, str]
) -> None:
    assert compared(before, before, *option) == 2
    assert "measures nothing" in capsys.readouterr().err


def test_a_regression_fails(before: Path, tmp_path: Path, capsys: Capture) -> None:
    after = written(tmp_path / "after.json", profile(result(pcm=300.0)))
    assert compared(before, after) == 1
    shown = capsys.readouterr().out
    assert "+200.0%" in shown and "worse" in shown and "FAILED" in shown
    assert compared(before, after, "--format", "json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False and facts["tolerance"] == 0.1
    worse = [c["metric"] for c in facts["changes"] if c["verdict"] == "worse"]
    assert worse == ["first_pcm"]


def test_what_cannot_be_compared_is_refused(before: Path, tmp_path: Path, capsys: Capture) -> None:
    other = written(tmp_path / "other.json", profile(result(), "clip"))
    assert "no scenario in common" in refused(capsys, "profile", "--compare", before, other)
    (tmp_path / "half.json").write_text(before.read_text()[:100])
    said = refused(capsys, "profile", "--compare", before, tmp_path / "half.json")
    assert "cannot be read" in said and "half.json" in said
    older = json.loads(before.read_text()) | {"version": 1}
    (tmp_path / "older.json").write_text(json.dumps(older))
    said = refused(capsys, "profile", "--compare", tmp_path / "older.json", before)
    assert "expected 2, got 1" in said and "measure again" in said


def test_mistakes_are_refused(tmp_path: Path, capsys: Capture) -> None:
    assert "nothing to profile" in refused(capsys, "profile")
    assert "exclude" in refused(capsys, "profile", tmp_path, "--compare", "a", "b")
    assert "no such profile" in refused(capsys, "profile", "--compare", tmp_path / "a", "b")
    said = refused(capsys, "profile", tmp_path, "--out", tmp_path / "no" / "folder")
    assert "cannot be written" in said
