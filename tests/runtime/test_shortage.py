"""Memory that runs out: known in every library's words, and told with what helps."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omnijet import cli
from omnijet.runtime.backends import ort_cpu, ort_session
from omnijet.runtime.backends.ort_session import run_failed, severity
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.shortage import LIGHTER, OutOfMemory, out_of_memory, ran_out
from tests.layering import ROOT

WORDS = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running a "
    "MatMul node. onnxruntime/core/framework/bfc_arena.cc:360 "
    "void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed "
    "to allocate memory for requested buffer of size 360448",
    "Exception caught: std::bad_alloc",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=device",
    "pthread_create failed, error code: 12 error msg: Cannot allocate memory",
    "libavcodec.so: failed to map segment from shared object",
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)",
    "can't start new thread",
    "cudaMalloc failed\n  got: cudaErrorMemoryAllocation",
)
GLIBC = ("cannot allocate memory for thread-local data", "Fatal glibc error")
"""What it says when it ends a process whose new thread has no memory."""
LIMITED = """
import resource, sys
from omnijet import cli
import omnijet.runtime.commands.run, omnijet.runtime.media.video, omnijet.runtime.media.audio

size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = size + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("words", WORDS)
def test_each_librarys_words_are_known(words: str) -> None:
    error = RuntimeError(words)
    assert ran_out(error)
    told = out_of_memory(error)
    assert isinstance(told, OutOfMemory) and told.fix == LIGHTER and "check" not in str(told)
    assert len(str(told.got)) <= 300


def test_what_caused_an_error_counts() -> None:
    try:
        try:
            raise np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.float32))  # type: ignore[attr-defined]
        except MemoryError as error:
            raise OmnijetError("the picture cannot be read", where="a.png", got=error) from error
    except OmnijetError as error:
        assert ran_out(error)
        told = out_of_memory(error)
    assert told.what == "memory ran out: the picture cannot be read" and told.where == "a.png"
    assert ran_out(OSError(errno.ENOMEM, "no words of ours"))
    assert not ran_out(OmnijetError("the picture cannot be read", got="a short file"))


def test_a_way_out_of_its_own_is_kept() -> None:
    own = OutOfMemory("the GPU is full", fix="close what else uses it")
    assert out_of_memory(own, fix="--less").fix == "close what else uses it"
    assert out_of_memory(OutOfMemory("full", fix=LIGHTER), fix="--less").fix == "--less"


def test_a_graph_that_does_not_fit_is_not_called_damaged() -> None:
    short = RuntimeError(WORDS[0])
    for error in (run_failed("vocoder", short), ort_cpu._not_loaded("vocoder", Path("v"), short)):
        assert isinstance(error, OutOfMemory) and "vocoder" in error.what
        assert str(error.got).startswith("Failed to allocate memory for requested buffer")
    assert not isinstance(run_failed("vocoder", RuntimeError("bad node")), OutOfMemory)


def test_an_array_that_does_not_fit_names_what_helps(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    session = omni.session(system=None)
    with monkeypatch.context() as patch:
        patch.setattr(type(omni.model), "embed", full)
        with pytest.raises(OutOfMemory, match="max_pixels"):
            session.generate("Hello")
        with pytest.raises(OutOfMemory, match="max_pixels"), session.stream("Hello") as stream:
            list(stream)
    assert session.generate("Hello", max_text_tokens=2, speech=False).text_ids
    assert [message.role for message in session.messages] == ["user", "assistant"]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_says_what_takes_less(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> int:
        raise MemoryError

    assert cli._reported(full, verb) == 2
    said = capsys.readouterr().err
    assert said.startswith("omnijet: memory ran out\n") and cli.VERBS[verb].lighter in said


def test_what_takes_less_exists() -> None:
    """Each option that is named is one of its verb."""
    for name, verb in cli.VERBS.items():
        options = [word.strip("`;,") for word in verb.lighter.split() if word.startswith("--")]
        if options:
            helped = subprocess.run(
                [sys.executable, "-m", "omnijet", name, "--help"],
                cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            assert all(f"{option} " in helped for option in options), (name, options)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux'")
def test_wherever_memory_ends_it_is_told(nano: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "reply.wav"
    out.write_bytes(b"the old one")
    codes = []
    for megabytes in (1, 30, 70, 110, 150, 400):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(megabytes), "run", nano[1], "--text", "Hello",
             "--max-text-tokens", "4", "--max-codes", "20", "--out", out],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if 1 < megabytes < 400 and any(words in done.stderr for words in GLIBC):
            assert out.read_bytes() == b"the old one"  # glibc asks nobody
            continue
        codes.append(done.returncode)
        if done.returncode != 2:
            continue
        assert done.stderr.startswith("omnijet: "), done.stderr
        assert "memory ran out" in done.stderr and "--max-pixels" in done.stderr
        assert "Traceback" not in done.stderr and "onnxruntime:" not in done.stderr
        assert out.read_bytes() == b"the old one"
    assert codes[0] == 2 and codes[-1] == 0 and set(codes) == {0, 2}
    assert len(codes) >= 5  # it happens in a narrow range alone


def test_a_broken_graph_makes_onnx_runtime_write_no_line(
    nano: tuple[Path, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what it says of a graph that our own look would refuse
    monkeypatch.setattr(ort_cpu, "require_own_graph", lambda *args: None)
    graph = Bundle.open(nano[1]).graph("vocoder")
    (tmp_path / graph.name).write_bytes(graph.read_bytes())  # without its weights
    with pytest.raises(OmnijetError, match="cannot be loaded"):
        ort_cpu.OrtBackend().session(tmp_path / graph.name, "vocoder")
    assert capfd.readouterr() == ("", "")


def test_its_lines_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert severity() == 4
    for asked, severe in (("0", 0), ("3", 3), ("9", 4), ("loud", 4)):
        monkeypatch.setenv(ort_session.LOG_VARIABLE, asked)
        assert severity() == severe
