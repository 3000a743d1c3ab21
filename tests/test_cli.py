"""The command line at work: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from omnijet import cli
from tests.clip import write_clip
from tests.command import Capture, answer, refused

MEDIA = Path(__file__).parent / "media"


def test_run_prints_one_object(nano: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    wav = tmp_path / "reply.wav"
    facts = answer(
        capsys, nano[1], "--text", "Look:", "--image", MEDIA / "drawing.png",
        "--audio", MEDIA / "question.wav", "--video", MEDIA / "clip.mp4", "--out", wav,
    )  # fmt: skip
    assert len(facts["text_ids"]) == 6 and isinstance(facts["text"], str)
    assert len(facts["codes"]) == 10 and facts["samples"] == 4800
    assert facts["sample_rate_hz"] == 24_000 and facts["voice"] == "Chelsie"
    assert facts["prompt_tokens"] > 500
    assert set(facts["timings_ms"]) == {
        "preprocess", "load", "audio_encoder", "vision_encoder", "thinker_prefill",
        "thinker_decode", "talker_prefill", "talker_decode", "dit", "vocoder",
    }  # fmt: skip
    samples, rate = soundfile.read(wav)
    assert rate == 24_000 and samples.shape == (4800,) and samples.std() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["reply.wav"]


def test_order_on_the_command_line_is_order_in_the_message(
    nano: tuple[Path, Path], capsys: Capture
) -> None:
    parts = ("--image", MEDIA / "drawing.png"), ("--text", "What?")
    first = answer(capsys, nano[1], *parts[0], *parts[1], "--greedy")
    last = answer(capsys, nano[1], *parts[1], *parts[0], "--greedy")
    assert first["prompt_tokens"] == last["prompt_tokens"]
    assert first["text_ids"] != last["text_ids"]


def test_seed_voice_and_system_prompt_matter(nano: tuple[Path, Path], capsys: Capture) -> None:
    plain = answer(capsys, nano[1], "--text", "Hi")
    assert answer(capsys, nano[1], "--text", "Hi")["codes"] == plain["codes"]
    assert answer(capsys, nano[1], "--text", "Hi", "--seed", "4")["codes"] != plain["codes"]
    assert answer(capsys, nano[1], "--text", "Hi", "--voice", "Ethan")["codes"] != plain["codes"]
    other = answer(capsys, nano[1], "--text", "Hi", "--system", "Be brief.")
    assert other["prompt_tokens"] < plain["prompt_tokens"]


def test_without_speech_nothing_is_spoken(nano: tuple[Path, Path], capsys: Capture) -> None:
    facts = answer(capsys, nano[1], "--text", "Hi", "--no-speech")
    assert facts["codes"] == [] and facts["samples"] == 0
    assert "dit" not in facts["timings_ms"]


def test_a_clip_may_go_unheard(nano: tuple[Path, Path], capsys: Capture) -> None:
    heard = answer(capsys, nano[1], "--video", MEDIA / "clip.mp4")
    unheard = answer(capsys, nano[1], "--video", MEDIA / "clip.mp4", "--no-audio-in-video")
    assert unheard["prompt_tokens"] < heard["prompt_tokens"]
    assert "audio_encoder" not in unheard["timings_ms"]


def test_a_clip_without_sound_needs_no_option(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "silent.mp4"
    write_clip(path, 20, 10)
    facts = answer(capsys, nano[1], "--video", path, "--no-speech")
    assert "audio_encoder" not in facts["timings_ms"] and len(facts["text_ids"]) == 6


def test_check_and_inspect(nano: tuple[Path, Path], capsys: Capture) -> None:
    bundle = str(nano[1])
    assert cli.main(["check", bundle]) == 0
    assert "PASSED" in capsys.readouterr().out
    assert cli.main(["check", bundle, "--format", "json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] and set(verdict["graphs"].values()) == {"ok"}
    assert cli.main(["inspect", bundle]) == 0
    shown = capsys.readouterr().out
    assert "TensorScatter" in shown and "key_cache_0" in shown
    assert cli.main(["inspect", bundle, "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["graphs"]["thinker_step"]["ops"]["Attention"] == 4


def test_bench_prints_the_host_share(nano: tuple[Path, Path], capsys: Capture) -> None:
    few = ["--runs", "1", "--text-tokens", "4", "--codes", "6", "--format", "json"]
    assert cli.main(["bench", str(nano[1]), *few]) == 0
    facts = json.loads(capsys.readouterr().out)
    step = facts["steps"]["talker_decode"]
    assert 0 < step["host_us"] < step["total_us"] and "onnxruntime" in facts["machine"]


def test_f16_is_half_the_size_and_says_the_same(
    nano: tuple[Path, Path], nano_f16: Path, tmp_path: Path, capsys: Capture
) -> None:
    bundle = tmp_path / "f16"
    assert cli.main(["export", str(nano[0]), str(bundle), "--dtype", "f16"]) == 0
    assert cli.main(["check", str(bundle)]) == 0
    capsys.readouterr()
    for part in ("thinker_step", "talker_step", "audio_encoder", "vision_encoder"):
        name = f"graphs/{part}.weights"
        assert (bundle / name).stat().st_size < 0.6 * (nano[1] / name).stat().st_size
    for path in (nano_f16 / "graphs").iterdir():  # whose traces are shared, see tests/traces.py
        assert (bundle / "graphs" / path.name).read_bytes() == path.read_bytes()
    question = ("--image", MEDIA / "drawing.png", "--text", "What is it?", "--greedy")
    half, full = (answer(capsys, folder, *question) for folder in (bundle, nano[1]))
    assert half["text_ids"][:3] == full["text_ids"][:3]
    assert len(half["codes"]) == len(full["codes"])


def test_streamed_to_a_player(nano: tuple[Path, Path], tmp_path: Path, capfdbinary: Any) -> None:
    """Samples alone on stdout, words on stderr, the same sound in the file."""
    wav = tmp_path / "reply.wav"
    asked = ("--text", "Hi", "--seed", "3", "--max-text-tokens", "6", "--max-codes", "31")
    command = ["run", str(nano[1]), *asked, "--stream", "--pcm", "-", "--out", str(wav)]
    assert cli.main(command) == 0
    captured = capfdbinary.readouterr()
    samples, rate = soundfile.read(wav, dtype="int16")
    assert rate == 24_000 and samples.size > 480
    played = np.frombuffer(captured.out, "<i2")
    assert np.array_equal(played, samples)
    assert b"s of speech in" in captured.err


def test_streamed_is_what_is_not(nano: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    whole = answer(capsys, nano[1], "--text", "Hi")
    pcm = tmp_path / "reply.pcm"
    streamed = answer(capsys, nano[1], "--text", "Hi", "--stream", "--pcm", pcm, "--preset", "fast")
    for key in ("text", "text_ids", "codes", "samples"):
        assert streamed[key] == whole[key]
    assert pcm.stat().st_size == 2 * whole["samples"]
    assert set(streamed["latency_ms"]) == {"first_text", "first_code", "first_pcm"}


def test_options_of_a_stream_need_one(nano: tuple[Path, Path], capsys: Capture) -> None:
    assert "add --stream" in refused(capsys, "run", nano[1], "--text", "Hi", "--preset", "fast")
    both = ("--stream", "--pcm", "-", "--json")
    assert "stdout" in refused(capsys, "run", nano[1], "--text", "Hi", *both)
