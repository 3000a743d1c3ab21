"""The test of sound: a tone through a sound card that a module stands in for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnijet import cli
from omnijet.runtime.doctor.library import ABSENT, Library
from omnijet.runtime.doctor.sound_test import sound_test
from omnijet.runtime.doctor.tone import HZ, heard, tone
from tests.command import Capture, refused
from tests.runtime.doctor.lines import require_typable
from tests.runtime.doctor.patients import patient

RATE = 48_000
CARD = """
import numpy as np
class PortAudioError(Exception): pass
def playrec(data, samplerate, channels, dtype, blocking):
    assert channels == 1 and blocking
    if samplerate != {rate}:
        raise PortAudioError("Invalid sample rate")
    noise = {noise} * np.random.default_rng(1).standard_normal(data.shape)
    late = np.zeros_like(data)
    late[3000:] = data[:-3000]
    return np.clip({gain} * late + noise, -1, 1).astype(dtype)
"""


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("late_s", [0.0, 0.25])
def test_a_tone_is_found_in_noise(rate: int, late_s: float) -> None:
    played = tone(rate)
    late = round(late_s * rate)
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(played))
    moved = np.concatenate((np.zeros(late), played))[: len(played)]
    found = heard((0.1 * moved + noise).astype(np.float32), rate)
    assert found.is_tone and not found.is_clipped and not found.is_silent
    assert found.tone_db == pytest.approx(20 * np.log10(0.02), abs=1)
    assert found.noise_db == pytest.approx(20 * np.log10(0.003), abs=1)


def test_noise_is_no_tone() -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(tone(RATE)))
    assert not heard(noise.astype(np.float32), RATE).is_tone


def test_another_tone_is_not_ours() -> None:
    time_s = np.arange(len(tone(RATE))) / RATE
    hum = 0.1 * np.sin(2 * np.pi * 3 * HZ * time_s)
    assert not heard(hum.astype(np.float32), RATE).is_tone


def test_a_humming_tone_that_was_there_before_is_not_ours() -> None:
    time_s = np.arange(len(tone(RATE))) / RATE
    assert not heard((0.1 * np.sin(2 * np.pi * HZ * time_s)).astype(np.float32), RATE).is_tone


@pytest.mark.parametrize(
    ("card", "state", "said"),
    [
        ({"rate": 48_000, "gain": 0.2, "noise": 0.001}, "ok", "hears the speaker"),
        ({"rate": 16_000, "gain": 0.2, "noise": 0.001}, "ok", "hears the speaker"),
        ({"rate": 48_000, "gain": 0.0, "noise": 0.0}, "fault", "not even noise"),
        ({"rate": 48_000, "gain": 0.0, "noise": 0.001}, "fault", "does not hear the speaker"),
        ({"rate": 48_000, "gain": 9.0, "noise": 0.001}, "note", "cuts the peaks off"),
        ({"rate": 8_000, "gain": 1.0, "noise": 0.0}, "fault", "Invalid sample rate"),
    ],
)
def test_a_sound_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: dict[str, float], state: str, said: str
) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted/sounddevice.py").write_text(CARD.format(**card))
    monkeypatch.syspath_prepend(str(tmp_path / "planted"))
    found = sound_test(replace(patient(tmp_path, "orin-nano-jp62"), sound=True))
    assert found is not None and found.state == state and said in found.said, found
    if found.fix is not None:
        require_typable(found.fix)


def test_no_tone_is_played_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> Library:
        raise AssertionError("a tone was played")

    monkeypatch.setattr("omnijet.runtime.doctor.sound_test._played", never)
    assert sound_test(patient(tmp_path, "orin-nano-jp62")) is None


def test_without_portaudio_nothing_is_tested(tmp_path: Path) -> None:
    here = patient(tmp_path, "orin-nano-jp62", libraries={"sounddevice": ABSENT}, sound=True)
    found = sound_test(here)
    assert found is not None and found.fix == 'pip install "omnijet[chat]"'


def test_nobody_is_asked_where_nobody_is(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert "add --yes" in refused(capsys, "doctor", "--sound")


@pytest.mark.parametrize(("answer", "plays"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_the_user_is_asked(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, answer: str, plays: bool
) -> None:
    from omnijet.runtime.doctor import command

    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: answer, raising=False)
    monkeypatch.setattr(command, "checks_for", lambda here: asked.append(here.sound) or [])
    assert cli.main(["doctor", "--sound"]) == 0
    assert asked == [plays]
    assert "Go on? [y/N]" in capsys.readouterr().err
