"""Bad input gives a clear error and exit code 2, and destroys nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from omnijet import cli
from omnijet.runtime.bundle.manifest import FILE_NAME
from tests.command import TERMINATION, Capture, answer, heed_signals, ignore_signals, refused

ROOT = Path(__file__).parent.parent

# -- bad checkpoints ----------------------------------------------------------------


def _config(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def _first_shard(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[0]


def _reshaped(folder: Path) -> None:
    tensors = load_file(_first_shard(folder))
    key = "thinker.model.norm.weight"
    tensors[key] = torch.ones(tensors[key].shape[0] + 1, dtype=tensors[key].dtype)
    save_file(tensors, _first_shard(folder))


def _retyped(folder: Path) -> None:
    tensors = load_file(_first_shard(folder))
    key = "thinker.model.norm.weight"
    tensors[key] = tensors[key].to(torch.int8)
    save_file(tensors, _first_shard(folder))


def _lacking(folder: Path) -> None:
    tensors = load_file(_first_shard(folder))
    for key in ("thinker.model.norm.weight", "thinker.lm_head.weight"):
        del tensors[key]
    tensors["thinker.extra.weight"] = torch.ones(3)
    save_file(tensors, _first_shard(folder))


def _truncated(folder: Path) -> None:
    with open(_first_shard(folder), "r+b") as file:
        file.truncate(_first_shard(folder).stat().st_size // 2)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "checkpoint"),
    "no shard": (lambda folder: _first_shard(folder).unlink(), "safetensors"),
    "half a shard": (_truncated, "safetensors"),
    "a shape": (_reshaped, "thinker.model.norm.weight"),
    "a dtype": (_retyped, "thinker.model.norm.weight"),
    "missing weights": (_lacking, "thinker.lm_head.weight"),
    "another model": (
        lambda folder: _config(folder, lambda c: c.update(model_type="qwen2_5_vl")),
        "qwen2_5_vl",
    ),
    "other maths": (
        lambda folder: _config(
            folder, lambda c: c["thinker_config"]["text_config"].update(hidden_act="gelu")
        ),
        "hidden_act",
    ),
    "no voices": (lambda folder: (folder / "spk_dict.pt").unlink(), "spk_dict.pt"),
    "broken voices": (lambda folder: (folder / "spk_dict.pt").write_bytes(b"PK"), "spk_dict.pt"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_checkpoint_is_refused_before_any_work(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, name: str
) -> None:
    damage, mentioned = DAMAGES[name]
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(nano[0], checkpoint)
    damage(checkpoint)
    began = time.perf_counter()
    assert mentioned in refused(capsys, "export", checkpoint, tmp_path / "out" / "bundle")
    assert time.perf_counter() - began < 5
    assert not list(tmp_path.glob("out/*"))


def test_all_missing_and_unused_weights_are_listed(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(nano[0], checkpoint)
    _lacking(checkpoint)
    said = refused(capsys, "export", checkpoint, tmp_path / "bundle")
    for key in ("thinker.model.norm.weight", "thinker.lm_head.weight", "thinker.extra.weight"):
        assert key in said


# -- bad outputs --------------------------------------------------------------------


def test_an_existing_folder_is_kept(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_bytes(b"1")
    refused(capsys, "export", nano[0], photos)
    refused(
        capsys, "export", nano[0], photos, "--force"
    )  # refused as well: the folder is no bundle
    assert (photos / "one.jpg").exists()
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize("out", ["no/such/folder/reply.wav", "."])
def test_an_unwritable_output_is_refused_before_any_work(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, out: str
) -> None:
    target = tmp_path / out
    said = refused(capsys, "run", nano[1], "--text", "Hi", "--out", target)
    assert str(target) in said
    assert not list(tmp_path.iterdir())


def test_an_unusable_name_is_refused_before_any_work(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    refused(capsys, "run", nano[1], "--text", "Hi", "--out", tmp_path / ("n" * 300 + ".wav"))
    longest = tmp_path / ("n" * 251 + ".wav")
    answer(capsys, nano[1], "--text", "Hi", "--out", longest)
    assert os.listdir(tmp_path) == [longest.name]


def test_links_are_followed_and_devices_kept(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    real, link, pipe = (tmp_path / name for name in ("real.wav", "link.wav", "pipe"))
    real.write_bytes(b"old")
    link.symlink_to(real)
    answer(capsys, nano[1], "--text", "Hi", "--out", link)
    assert link.is_symlink() and real.stat().st_size > 1000
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        answer(capsys, nano[1], "--text", "Hi", "--out", pipe)
        assert reader.stdout is not None and reader.stdout.read() == real.read_bytes()
    assert pipe.is_fifo()


def test_a_full_disk_leaves_nothing(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal written
        written += 1
        if written > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    assert "No space left" in refused(capsys, "export", nano[0], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_seen_before_any_work(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "GB free" in refused(capsys, "export", nano[0], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


INTERRUPTED_VERB = """
import os, sys, types
from omnijet import cli

def run(args):
    os.kill(os.getpid(), int(args.number))
    return 0

verb = types.ModuleType("interrupted_verb")
verb.add_arguments, verb.run = lambda parser: parser.add_argument("number"), run
sys.modules[verb.__name__] = verb
cli.VERBS[verb.__name__] = cli.Verb(verb.__name__, "sends itself a signal")
sys.exit(cli.main([verb.__name__, sys.argv[1]]))
"""


@pytest.mark.parametrize("number", TERMINATION)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_interrupts_unless_the_parent_ignores_it(
    number: signal.Signals, ignored: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_VERB, str(int(number))],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
        preexec_fn=ignore_signals if ignored else heed_signals,
    )  # fmt: skip
    assert done.returncode == (0 if ignored else 130), done.stderr
    assert ("interrupted" in done.stderr) is not ignored and "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_export_leaves_nothing(
    nano: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omnijet", "export", nano[0], tmp_path / "bundle"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.rglob("*.onnx")):  # until the first of six graphs is written
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_interrupted_run_of_a_large_picture(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Two cores need minutes for a phone's photo of twelve megapixels."""
    picture = tmp_path / "photo.png"
    Image.fromarray(np.zeros((3000, 4000, 3), np.uint8)).save(picture, compress_level=1)
    out = tmp_path / "reply.wav"
    process = subprocess.Popen(
        [sys.executable, "-m", "omnijet", "run", trained[1], "--image", picture, "--out", out],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals,
    )  # fmt: skip
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=4)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5  # seconds
    assert process.returncode == 130 and said.endswith("nothing half-written was left behind\n")
    assert [path.name for path in tmp_path.iterdir()] == [picture.name]


# -- bad bundles --------------------------------------------------------------------


@pytest.fixture
def copied(nano: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano[1], tmp_path / "bundle"))


def test_a_tampered_file_is_found(copied: Path, capsys: Capture) -> None:
    path = copied / "graphs" / "thinker_step.weights"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert cli.main(["check", str(copied)]) == 2
    shown = capsys.readouterr().out
    assert "FAILED graphs/thinker_step.weights: sha256" in shown


def test_a_shortened_file_is_refused_at_once(copied: Path, capsys: Capture) -> None:
    path = copied / "tables" / "thinker_embedding.npy"
    path.write_bytes(path.read_bytes()[:-1])
    for command in (("check",), ("inspect",), ("bench",)):
        assert "thinker_embedding" in refused(capsys, *command, copied)
    assert "thinker_embedding" in refused(capsys, "run", copied, "--text", "Hi")


def test_a_newer_bundle_is_refused(copied: Path, capsys: Capture) -> None:
    manifest = json.loads((copied / FILE_NAME).read_text())
    manifest["version"] += 1
    (copied / FILE_NAME).write_text(json.dumps(manifest))
    said = refused(capsys, "run", copied, "--text", "Hi")
    assert "newer" in said and str(manifest["version"]) in said


def test_no_bundle(tmp_path: Path, capsys: Capture) -> None:
    assert FILE_NAME in refused(capsys, "run", tmp_path, "--text", "Hi")
    assert str(tmp_path / "x") in refused(capsys, "check", tmp_path / "x")


# -- bad questions ------------------------------------------------------------------


def test_an_unknown_voice_lists_the_voices(nano: tuple[Path, Path], capsys: Capture) -> None:
    said = refused(capsys, "run", nano[1], "--text", "Hi", "--voice", "Bob")
    assert "Bob" in said and "Chelsie" in said and "Ethan" in said


def test_text_that_is_no_unicode(nano: tuple[Path, Path], capsys: Capture) -> None:
    assert "UTF-8" in refused(capsys, "run", nano[1], "--text", "caf\udce9")


def test_a_shortened_option_is_no_option(nano: tuple[Path, Path], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(nano[1]), "--tex", "Hi"])
    assert stopped.value.code == 2


def test_nothing_to_answer(nano: tuple[Path, Path], capsys: Capture) -> None:
    assert "--text" in refused(capsys, "run", nano[1])


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
@pytest.mark.parametrize("content", [None, b"", b"not what the name says" * 50])
def test_unusable_media(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, kind: str, content: bytes | None
) -> None:
    path = tmp_path / f"medium.{dict(image='png', audio='wav', video='mp4')[kind]}"
    if content is not None:
        path.write_bytes(content)
    assert "medium" in refused(capsys, "run", nano[1], f"--{kind}", path)


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_media_that_are_no_files(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, kind: str
) -> None:
    for source, words in [
        (tmp_path, "a folder"),
        ("/dev/zero", "a device"),
        ("https://example.org/a", "download it first"),
        ("file://server/a", "'server'"),
        ("data:;base64,?", "base64"),
    ]:
        assert words in refused(capsys, "run", nano[1], f"--{kind}", source)
    piped = ("--image", "/dev/stdin", f"--{kind}", "-")
    with open("/dev/zero", "rb") as zero:  # no file that could be opened anew
        done = subprocess.run(
            [sys.executable, "-m", "omnijet", "run", nano[1], *piped],
            cwd=ROOT, stdin=zero, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2 and "only once" in done.stderr


def test_wild_sounds(nano: tuple[Path, Path], capsys: Capture) -> None:
    wild = ROOT / "tests" / "media" / "wild"
    raw = ("--audio", wild / "mic.raw")
    assert "--audio-format s16le" in refused(capsys, "run", nano[1], *raw)
    given = ("--audio-format", "s16le:16000:1")
    assert "there is none" in refused(capsys, "run", nano[1], "--text", "Hi", *given)
    sound = ("--audio", wild / "size_zero.wav")
    lengths = {
        answer(capsys, nano[1], *options, "--no-speech", "--max-text-tokens", "1")["prompt_tokens"]
        for options in ((*raw, *given), (*given, *raw), sound)
    }
    assert len(lengths) == 1
    answer(capsys, nano[1], *sound, *raw, *given, "--no-speech", "--max-text-tokens", "1")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(nano[1]), *map(str, raw), "--audio-format", "s16le"])
    assert stopped.value.code == 2 and "ENCODING:RATE:CHANNELS" in capsys.readouterr().err


UNLIKE = {"timings_ms": 0, "latency_ms": 0, "tokens_per_step": 0, "seed": 0}
"""What two runs of one question need not have in common."""


def test_media_from_pipes(nano: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "omnijet", "run", nano[1], "--no-speech", "--json", "--greedy"]
    media = ROOT / "tests" / "media"
    facts = []
    for sound, picture in (
        (media / "question.wav", media / "drawing.png"),
        ("-", (media / "drawing.png").as_uri()),
        ("/dev/stdin", media / "drawing.png"),
    ):
        with subprocess.Popen(["cat", media / "question.wav"], stdout=subprocess.PIPE) as feeder:
            done = subprocess.run(
                [*command, "--audio", sound, "--image", picture],
                cwd=ROOT, stdin=feeder.stdout, stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            facts.append({**json.loads(done.stdout), **UNLIKE})
    assert facts[0] == facts[1] == facts[2]


def test_a_sound_without_samples(nano: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16_000)
    assert "empty" in refused(capsys, "run", nano[1], "--audio", path)


def test_a_picture_too_long_for_its_width(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "line.png"
    Image.new("RGB", (2010, 10)).save(path)
    assert "200" in refused(capsys, "run", nano[1], "--image", path)


def test_a_prompt_longer_than_the_cache(nano: tuple[Path, Path], capsys: Capture) -> None:
    said = refused(capsys, "run", nano[1], "--text", "one " * 40_000)
    assert "KV cache" in said and "32768" in said


def test_a_long_sound_is_cut_with_a_warning(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(302 * 8000), 8000)
    facts = answer(capsys, nano[1], "--audio", path, "--no-speech")
    assert "only the first 300 s" in caplog.text
    assert 7500 <= facts["prompt_tokens"] <= 7600


@pytest.mark.parametrize(
    "options", [("--max-codes", "0"), ("--seed", "-1"), ("--max-text-tokens", "x"), ("--pitch",)]
)
def test_bad_options(nano: tuple[Path, Path], capsys: Capture, options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(nano[1]), "--text", "Hi", *options])
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err
