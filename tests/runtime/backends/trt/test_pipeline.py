"""The whole pipeline gives the same reply on engines as on the CPU.

The engines belong to a double that runs the same graphs, so ids are equal, and sound differs only
where windows or the length of the caches round differently.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet import cli
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.manifest import Library
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk, Reply
from tests.command import Capture, answer
from tests.runtime.backends.trt.engines import CAPACITY, Machine, machine, with_engines

ROOT = Path(__file__).parents[4]
MEDIA = ROOT / "tests" / "media"
DRAWING = {"type": "image", "image": str(MEDIA / "drawing.png")}
QUESTION = {"type": "audio", "audio": str(MEDIA / "question.wav")}
FOLLOW_UP = {"type": "audio", "audio": str(MEDIA / "follow_up.wav")}
ASK = {"type": "text", "text": "What do you see?"}
OPTIONS: dict[str, Any] = {"seed": 3, "max_text_tokens": 12, "max_codes": 60}


@dataclass(frozen=True)
class Case:
    """One combination of library, caches and memory."""

    library: Library = "tensorrt"
    in_place: bool = True
    integrated: bool = False


CASES = {
    "tensorrt": Case(),
    "two caches": Case(in_place=False),
    "jetson": Case(integrated=True),
    "jetson, two caches": Case(in_place=False, integrated=True),
    "tensorrt-rtx": Case("tensorrt_rtx"),
}


@pytest.fixture(params=CASES)
def pair(
    request: pytest.FixtureRequest,
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Omni, Omni, Machine]]:
    """The pipeline on engines, the pipeline on the CPU, and the machine of the engines."""
    case = CASES[request.param]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = with_engines(
        trained[1], tmp_path / "bundle", library=case.library, in_place=case.in_place
    )
    with machine(case.library, integrated=case.integrated) as made:
        ours = Omni.open(bundle, engines="orin-nx")
        theirs = Omni.open(bundle, backend=OrtBackend(1), context_limit=CAPACITY)
        with ours, theirs:
            yield ours, theirs, made


def same(ours: Reply, theirs: Reply) -> None:
    assert (ours.text_ids, ours.codes) == (theirs.text_ids, theirs.codes)
    assert len(theirs.codes) > 5 and theirs.audio.std() > 1e-3
    assert snr(theirs.audio, ours.audio) > 50


def snr(right: Array, other: Array) -> float:
    """Returns the signal-to-noise ratio in decibels."""
    assert right.shape == other.shape
    wrong = np.square(right - other, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(right, dtype=np.float64).sum() / max(wrong, 1e-30)))


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def test_a_bundle_without_a_voice(voiceless: Path, tmp_path: Path) -> None:
    bundle = with_engines(voiceless, tmp_path / "bundle")
    messages = [{"role": "user", "content": [DRAWING, QUESTION, ASK]}]
    with machine(), Omni.open(bundle, engines="orin-nx") as ours:
        assert ours.model.context_limit == CAPACITY
        with Omni.open(bundle, backend=OrtBackend(1), context_limit=CAPACITY) as theirs:
            wanted = theirs.generate(messages, max_text_tokens=12)
        assert ours.generate(messages, max_text_tokens=12).text_ids == wanted.text_ids
        with pytest.raises(OmnijetError, match="no voice"):
            ours.generate(messages, speech=True)


def test_text_pictures_sound_and_speech(pair: tuple[Omni, Omni, Machine]) -> None:
    ours, theirs, made = pair
    for messages in (user(DRAWING, ASK), user(QUESTION)):
        same(ours.generate(messages, **OPTIONS), theirs.generate(messages, **OPTIONS))
    copies = {kind for kind, _ in made.gpu.copies}
    if made.gpu.integrated:  # memory is shared: nothing is copied
        assert copies == set()
    else:
        assert copies == {"host to device", "device to host"}
    captured = made.gpu.calls.get("cudaGraphLaunch", 0)
    if made.library.__name__ == "tensorrt_rtx":
        assert captured == 0 and any(context.graphs for context in made.library.contexts)
    else:
        assert captured > 20


def test_bf16(trained_bf16: tuple[Path, Path], tmp_path: Path, orin: Machine) -> None:
    """Tables and caches are bits that numpy has no dtype for."""
    bundle = with_engines(trained_bf16[1], tmp_path / "bundle")
    ours = Omni.open(bundle, engines="orin-nx")
    theirs = Omni.open(bundle, backend=WidenedBackend(1))
    same(ours.generate(user(QUESTION), **OPTIONS), theirs.generate(user(QUESTION), **OPTIONS))


@pytest.mark.parametrize("preset", ["exact", "fast"])
def test_a_stream(built: Path, orin: Machine, preset: str) -> None:
    """Two workers use the device at the same time."""
    replies = []
    for omni in (Omni.open(built, engines="orin-nx"), Omni.open(built, backend=OrtBackend(1))):
        with omni.stream(user(DRAWING, ASK), preset=preset, **OPTIONS) as events:
            pieces = [event.samples for event in events if isinstance(event, PcmChunk)]
            assert len(pieces) > 1 and np.array_equal(np.concatenate(pieces), events.reply.audio)
            replies.append(events.reply)
    same(*replies)


@pytest.mark.parametrize("pair", ["tensorrt", "two caches"], indirect=True)
def test_a_conversation_that_is_forked_and_rewound(pair: tuple[Omni, Omni, Machine]) -> None:
    ours, theirs, _ = pair
    for one, other in zip(_conversed(ours), _conversed(theirs), strict=True):
        assert (one.text_ids, one.codes) == (other.text_ids, other.codes)


def _conversed(omni: Omni) -> list[Reply]:
    """Returns the replies of a turn, of one more turn in each of two conversations, and of a turn
    after one that was broken off, which continues from an earlier row than the caches hold.
    """
    session = omni.session()
    replies = [session.generate([DRAWING, ASK], **OPTIONS)]
    fork = session.fork()
    replies.append(session.generate([FOLLOW_UP], **OPTIONS))
    replies.append(fork.generate([QUESTION], **OPTIONS))
    with session.stream([QUESTION], **OPTIONS) as events:
        next(iter(events))
    replies.append(session.generate([FOLLOW_UP], **OPTIONS))
    return replies


def test_a_cancelled_stream_leaves_the_engines_usable(built: Path, orin: Machine) -> None:
    omni = Omni.open(built, engines="orin-nx")
    whole = omni.generate(user(DRAWING, ASK), **OPTIONS)
    stream = omni.stream(user(DRAWING, ASK), **OPTIONS)
    next(iter(stream))
    stream.cancel()
    list(stream)
    assert stream.reply.codes != whole.codes
    same(omni.generate(user(DRAWING, ASK), **OPTIONS), whole)


def test_speech_longer_than_the_largest_profile(built: Path, orin: Machine) -> None:
    """The speech is made in the windows of a stream, and sounds the same."""
    ours, theirs = Omni.open(built, engines="orin-nx"), Omni.open(built, backend=OrtBackend(1))
    codes = theirs.generate(user(DRAWING, ASK), **OPTIONS).codes
    codes = (codes * 10)[:240]
    blocks = len(codes) * ours.model.dims.dit.repeats / ours.model.dims.dit.block
    assert blocks > (ours.model.graph("dit_step").limit("blocks") or 0)
    mel = theirs.mel_of(codes, seed=1)
    assert snr(mel, ours.mel_of(codes, seed=1)) > 50
    assert mel.shape[1] > (ours.model.graph("vocoder").limit("frames") or 0)
    assert snr(theirs.wave_of(mel), ours.wave_of(mel)) > 50


def test_a_picture_larger_than_the_largest_profile(
    built: Path, orin: Machine, tmp_path: Path
) -> None:
    from PIL import Image

    path = tmp_path / "large.png"
    Image.effect_noise((540, 540), 50).convert("RGB").save(path)
    omni = Omni.open(built, engines="orin-nx")
    picture = {"type": "image", "image": str(path)}
    assert omni.generate(user(picture, ASK), **OPTIONS).text_ids  # it is made to fit
    with pytest.raises(OmnijetError, match="built for other sizes") as caught:
        omni.generate(user(picture, ASK), strict_size=True, **OPTIONS)
    fix = caught.value.fix or ""
    assert "smaller picture" in fix and f"omnijet build {built} --target orin-nx" in fix
    assert "--graphs vision_encoder --limit cells=361" in fix, "the others stay as they are"


def test_a_prompt_longer_than_the_caches(built: Path, orin: Machine) -> None:
    omni = Omni.open(built, engines="orin-nx")
    with pytest.raises(OmnijetError, match="does not fit the KV cache"):
        omni.generate(user({"type": "text", "text": "three yellow stars " * 300}), **OPTIONS)


def test_all_memory_is_freed(built: Path, orin: Machine) -> None:
    omni = Omni.open(built, engines="orin-nx")
    omni.generate(user(DRAWING, ASK), **OPTIONS)
    gc.collect()
    after_one = (orin.gpu.used, orin.gpu.pinned)
    for _ in range(2):
        omni.generate(user(DRAWING, ASK), **OPTIONS)
    gc.collect()
    assert (orin.gpu.used, orin.gpu.pinned) == after_one
    orin.library.contexts.clear()
    del omni
    gc.collect()
    assert (orin.gpu.used, orin.gpu.pinned, orin.gpu.streams) == (0, 0, {})


def test_a_second_reply_allocates_and_captures_nothing(pair: tuple[Omni, Omni, Machine]) -> None:
    ours, _, made = pair

    def count(*names: str) -> list[int]:
        return [made.gpu.calls.get(name, 0) for name in names]

    first = ours.generate(user(QUESTION), **OPTIONS)
    allocated = count("cudaMalloc", "cudaHostAlloc")
    captured = [*count("cudaGraphInstantiate"), len(made.library.contexts)]
    second = ours.generate(user(QUESTION), **OPTIONS)
    assert (second.text_ids, second.codes) == (first.text_ids, first.codes)
    assert np.array_equal(second.audio, first.audio)
    assert count("cudaMalloc", "cudaHostAlloc") == allocated
    if ours.bundle.manifest.engines["orin-nx"]["thinker_step"].caches_in_place:
        assert [*count("cudaGraphInstantiate"), len(made.library.contexts)] == captured
    # else a short text does not run the step of either buffer often enough to be captured


def test_engines_without_their_graphs(
    built: Path, orin: Machine, tmp_path: Path, capsys: Capture
) -> None:
    """A device need not have room for engines and graphs."""
    alone = tmp_path / "alone"
    shutil.copytree(built, alone, ignore=shutil.ignore_patterns("graphs"))
    ours, theirs = Omni.open(alone, engines="orin-nx"), Omni.open(built, backend=OrtBackend(1))
    same(
        ours.generate(user(DRAWING, ASK), **OPTIONS),
        theirs.generate(user(DRAWING, ASK), **OPTIONS),
    )
    assert cli.main(["check", str(alone)]) == 0
    assert capsys.readouterr().out.count("left out: there is an engine") == 6
    assert cli.main(["inspect", str(alone)]) == 0
    with pytest.raises(OmnijetError, match="thinker_step was left out") as caught:
        Omni.open(alone, backend=OrtBackend(1)).generate(user(ASK), **OPTIONS)
    assert "--engines T" in (caught.value.fix or "")
    assert cli.main(["build", str(alone), "--target", "orin-nx-jp72"]) == 2
    assert "thinker_step.onnx: missing" in capsys.readouterr().err
    (alone / "engines/orin-nx/vocoder.engine").unlink()
    with pytest.raises(OmnijetError, match="differ from the manifest") as caught:
        Omni.open(alone, engines="orin-nx")
    assert "vocoder.onnx: missing" in str(caught.value.got)


def test_what_cannot_be_captured_runs_all_the_same(built: Path, orin: Machine) -> None:
    orin.library.capturable = False
    ours, theirs = Omni.open(built, engines="orin-nx"), Omni.open(built, backend=OrtBackend(1))
    same(
        ours.generate(user(DRAWING, ASK), **OPTIONS),
        theirs.generate(user(DRAWING, ASK), **OPTIONS),
    )
    assert "cudaGraphLaunch" not in orin.gpu.calls


def test_the_command_line(built: Path, orin: Machine, capsys: Capture) -> None:
    """Engines run when they are named, the CPU otherwise."""
    asked = (built, "--image", MEDIA / "drawing.png", "--text", ASK["text"])
    theirs = answer(capsys, *asked)
    assert not orin.gpu.calls
    ours = answer(capsys, *asked, "--engines", "orin-nx")
    assert (ours["text"], ours["codes"]) == (theirs["text"], theirs["codes"])
    assert orin.gpu.calls["cudaGraphLaunch"]
    command = ["bench", str(built), "--engines", "orin-nx", "--runs", "1", "--text-tokens", "4",
               "--codes", "5", "--format", "json"]  # fmt: skip
    assert cli.main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["backend"] == "tensorrt 10.16.2 on A double"
