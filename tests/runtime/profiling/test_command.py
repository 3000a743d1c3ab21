"""The verb on a random bundle."""

from __future__ import annotations

import json
from pathlib import Path

import omnijet
from runtime.profiling import trace
from runtime.profiling.record import Profile
from tests.command import Capture, refused


def test_profile_measures_writes_and_compares(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    quick = ["--scenario", "text", "--runs", "2", "--warmup", "0", "--out", str(out)]
    assert omnijet.main(["profile", str(nano[1]), *quick, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "profile.json").read_text())
    result = Profile.read(out).scenarios["text"]
    assert (result.text_tokens, result.codes, result.speech_s) == (24, 100, 2.0)
    pcm = result.latency_ms["first_pcm"]
    assert result.latency_ms["first_code"].p50 < pcm.p50 <= result.latency_ms["whole"].p50
    assert result.steps["talker_decode"].total_us.count == 2 * 99
    tracks = trace.read((out / "trace.json").read_text(), out)
    assert [track.name for track in tracks] == ["text, run 1", "text, run 2"]
    assert sorted(path.name for path in out.iterdir()) == [
        "profile.json", "report.html", "trace.json",
    ]  # fmt: skip
    page = (out / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "timeline of text, run 1" in page

    slower = json.loads((out / "profile.json").read_text())
    pcm = slower["scenarios"]["text"]["latency_ms"]["first_pcm"]
    pcm |= {key: 3 * value for key, value in pcm.items() if key != "count"}
    (tmp_path / "b.json").write_text(json.dumps(slower))
    assert omnijet.main(["profile", "--compare", str(out), str(out)]) == 0
    assert "PASSED" in capsys.readouterr().out
    assert omnijet.main(["profile", "--compare", str(out), str(tmp_path / "b.json")]) == 1
    assert "+200.0%" in capsys.readouterr().out


def test_mistakes_are_refused(tmp_path: Path, capsys: Capture) -> None:
    assert "nothing to profile" in refused(capsys, "profile")
    assert "exclude" in refused(capsys, "profile", tmp_path, "--compare", "a", "b")
    assert "no such profile" in refused(capsys, "profile", "--compare", tmp_path / "a", "b")
    said = refused(capsys, "profile", tmp_path, "--out", tmp_path / "no" / "folder")
    assert "cannot be written" in said
