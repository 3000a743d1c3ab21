"""The command line says why a reply ends, and takes the numbers of a sampling."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.omni import Omni
from tests.command import Capture, answer, refused

LIMITS = ["--max-text-tokens", "6", "--max-codes", "11", "--seed", "3"]


def run(bundle: Path, *options: str | Path) -> int:
    return cli.main(["run", str(bundle), "--text", "Hi", *map(str, options)])


@pytest.mark.parametrize("how", [[], ["--stream"], ["--json"]])
def test_a_cut_reply_is_said(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, how: list[str]
) -> None:
    wav = tmp_path / "reply.wav"
    assert run(nano[1], *LIMITS, "--out", wav, *how) == 0
    said = capsys.readouterr()
    assert "[the text was cut at 6 tokens: --max-text-tokens allows more]" in said.err
    assert "[the speech was cut at 0.20 s: --max-codes allows more]" in said.err
    assert "allows more" not in said.out and wav.stat().st_size == 44 + 2 * 4800
    if how == ["--json"]:
        assert json.loads(said.out)["finish_reason"] == "length"


def test_a_full_context_is_said(
    nano: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = answer(capsys, nano[1], "--text", "Hi", "--no-speech")
    assert facts["finish_reason"] == "length"
    small = Omni.open(nano[1], context_limit=facts["prompt_tokens"] + 3)
    monkeypatch.setattr("omnijet.runtime.commands.run.opened", lambda args: small)
    with small:
        assert run(nano[1], "--no-speech", "--max-text-tokens", "90") == 0
    assert "a shorter prompt or smaller media leave more room" in capsys.readouterr().err


SILENT = [
    (["--max-codes", "1"], "--max-codes 1 leaves no codec token"),
    (["--max-text-tokens", "1"], "--max-text-tokens 1 leaves nothing to speak"),
]


@pytest.mark.parametrize(("limit", "why"), SILENT)
@pytest.mark.parametrize("way", [["--out"], ["--json", "--out"], ["--stream", "--pcm"]])
def test_no_file_without_sound(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, way: list[str], limit: list[str],
    why: str,
) -> None:  # fmt: skip
    path = tmp_path / "reply"
    limits = ["--max-text-tokens", "4", "--max-codes", "11", *limit]
    assert run(nano[1], *limits, *way, path) == 1
    said = capsys.readouterr()
    assert f"[{path} was not written, nothing was said: {why}" in said.err
    assert not list(tmp_path.iterdir())
    if "--json" in way:
        assert json.loads(said.out)["samples"] == 0
    path.write_bytes(b"an older reply")
    assert run(nano[1], *limits, *way, path) == 1
    assert path.read_bytes() == b"an older reply"
    # nobody asked for sound
    assert run(nano[1], *limits) == 0


def test_a_pipe_gets_samples_or_their_end(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for codes, code in (("11", 0), ("1", 1)):
        read: list[bytes] = []
        reader = threading.Thread(target=lambda into=read: into.append(pipe.read_bytes()))
        reader.start()
        limits = ["--max-text-tokens", "4", "--seed", "3", "--max-codes", codes]
        assert run(nano[1], *limits, "--stream", "--pcm", pipe) == code
        reader.join(10)
        assert not reader.is_alive() and len(read[0]) == (9600 if code == 0 else 0)


@pytest.mark.parametrize("way", [["--out", "x"], ["--stream", "--pcm", "x"]])
def test_sound_and_no_speech_contradict(nano: tuple[Path, Path], capsys: Capture,
                                        way: list[str]) -> None:  # fmt: skip
    said = refused(capsys, "run", nano[1], "--text", "Hi", "--no-speech", *way)
    assert f"leave out {way[-2]} or --no-speech" in said


def test_samples_to_a_folder_that_is_not_there(nano: tuple[Path, Path], capsys: Capture) -> None:
    said = refused(capsys, "run", nano[1], "--text", "Hi", "--stream", "--pcm", "/nowhere/x.pcm")
    assert "No such file or directory" in said and "/nowhere/x.pcm" in said


def test_numbers_of_the_sampling(nano: tuple[Path, Path], capsys: Capture) -> None:
    def ask(*options: str) -> Any:
        facts = answer(capsys, nano[1], "--text", "Hi", *options)
        return facts["text_ids"], facts["codes"]

    plain = ask()
    assert ask("--temperature", "0") == plain
    assert ask("--temperature", "3", "--top-k", "0", "--top-p", "1")[0] != plain[0]
    text, codes = ask("--talker-temperature", "9", "--talker-top-k", "0", "--talker-top-p", "1")
    assert text == plain[0] and codes != plain[1]
    greedy = ask("--greedy", "--talker-repetition-penalty", "1.05")
    assert greedy == ask("--talker-temperature", "0")
    assert ask("--repetition-penalty", "0.01")[0] != plain[0]


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", "one", ""])
@pytest.mark.parametrize("option", ["--temperature", "--talker-top-p", "--top-k"])
def test_unusable_numbers(
    nano: tuple[Path, Path], capsys: Capture, option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(nano[1], f"{option}={value}")
    assert ended.value.code == 2
    assert f"argument {option}: expected a" in capsys.readouterr().err


def test_greedy_contradicts_draws(nano: tuple[Path, Path], capsys: Capture) -> None:
    options = ("--greedy", "--top-p", "0.5", "--talker-temperature", "0.2", "--temperature", "0")
    said = refused(capsys, "run", nano[1], "--text", "Hi", *options)
    assert "--greedy and --top-p, --talker-temperature\n" in said


@pytest.mark.parametrize("voice", ["chelsie", "CHELSIE", "Chelsea"])
def test_near_misses_of_a_voice(nano: tuple[Path, Path], capsys: Capture, voice: str) -> None:
    said = refused(capsys, "run", nano[1], "--text", "Hi", "--voice", voice)
    assert "did you mean Chelsie?" in said
    assert Bundle.open(nano[1]).voice_id("Chelsie")[0] == "Chelsie"


def test_another_system_prompt_is_warned_of(
    nano: tuple[Path, Path], capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    answer(capsys, nano[1], "--text", "Hi")
    answer(capsys, nano[1], "--text", "Hi", "--system", "Be brief.", "--no-speech")
    assert not caplog.messages
    answer(capsys, nano[1], "--text", "Hi", "--system", "Be brief.")
    assert len([line for line in caplog.messages if "system prompt" in line]) == 1
