"""Tests that Ctrl-C reaches the main thread in the middle of a long call, or ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnijet.runtime.cancel import here
from omnijet.runtime.interrupt import interruptible
from tests.command import heed_signals
from tests.layering import ROOT

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Heeds Ctrl-C in this process: `&` in a script starts one that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


COMMAND = """
import hashlib, os, signal, sys, types
from pathlib import Path
from omnijet import cli
from omnijet.runtime.files.staging import staged_folder
from omnijet.runtime import interrupt
from omnijet.runtime.leftovers import whole_step

def long_call(rounds=2**31 - 1):
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)  # as deaf to signals as a graph being loaded

def begun(target):
    (target.parent / "begun").touch()

{body}

verb = types.ModuleType("long_verb")
verb.add_arguments, verb.run = lambda parser: parser.add_argument("target", type=Path), run
sys.modules[verb.__name__] = verb
cli.VERBS[verb.__name__] = cli.Verb(verb.__name__, "takes long")
sys.argv = ["omnijet", verb.__name__, sys.argv[1]]
sys.exit(cli.main())
"""
HOSTILE = """
def run(args):
    import numpy as np
    import onnxruntime
    from onnx import helper
    from omnijet.runtime.backends.ort_session import OrtSession

    value, f32, i64, yes = helper.make_tensor_value_info, 1, 7, 9  # of ONNX's dtypes
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]),
         helper.make_node("Add", ["x", "x"], ["y"])],
        "body", [value("i", i64, []), value("on", yes, []), value("x", f32, [1])],
        [value("still", yes, []), value("y", f32, [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "begin", "a"], ["end"], body=body)], "endless",
        [value("a", f32, [1])], [value("end", f32, [1])],
        [helper.make_tensor("rounds", i64, [], [2**60]),
         helper.make_tensor("begin", yes, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = OrtSession(onnxruntime.InferenceSession(model.SerializeToString()), "endless")
    binding = session.binding()
    binding.made.bind_cpu_input("a", np.ones(1, np.float32))
    binding.made.bind_output("end")
    begun(args.target)
    session.run(binding)
"""
CONVERTED = """
def run(args):
    begun(args.target)
    try:
        signal.pause()
    except KeyboardInterrupt:
        raise SystemError("initialization of an extension raised")  # as C code does
"""
DEAF = """
def run(args):
    with staged_folder(args.target, replace=False) as folder:
        (folder / "half").touch()
        begun(args.target)
        long_call()
"""
SLOW_TO_END = """
interrupt.GRACE_S = 1000

def run(args):
    try:
        begun(args.target)
        signal.pause()
    finally:
        (args.target.parent / "ending").touch()
        long_call()
"""
WHOLE = """
def run(args):
    with whole_step():
        begun(args.target)
        while not (args.target.parent / "sent").exists():
            pass
        args.target.touch()
    (args.target.parent / "late").touch()
"""


def started(body: str, folder: Path) -> subprocess.Popen[str]:
    """Starts a command and returns when it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(body=body), folder / "target"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals,
    )  # fmt: skip
    wait_for(process, folder / "begun")
    return process


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    path.unlink()


def check_end(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    assert said == "omnijet: interrupted; nothing half-written was left behind\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_in_a_deaf_call_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    process = started(DEAF, tmp_path)
    process.send_signal(number)
    check_end(process)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_loops_for_ever_is_ended(tmp_path: Path) -> None:
    process = started(HOSTILE, tmp_path)
    process.send_signal(signal.SIGTERM)
    check_end(process)


def test_an_interrupt_that_became_another_error_is_one(tmp_path: Path) -> None:
    process = started(CONVERTED, tmp_path)
    process.send_signal(signal.SIGINT)
    check_end(process)


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    process = started(SLOW_TO_END, tmp_path)
    process.send_signal(signal.SIGINT)
    wait_for(process, tmp_path / "ending")
    process.send_signal(signal.SIGINT)
    check_end(process)


def test_a_step_that_must_not_be_cut(tmp_path: Path) -> None:
    process = started(WHOLE, tmp_path)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    (tmp_path / "sent").touch()
    check_end(process)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sent", "target"]


def test_a_users_program_is_interrupted_and_goes_on() -> None:
    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), interruptible():
            switch = here()
            assert switch is not None and not switch.is_set
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            finally:
                deadline = time.monotonic() + PATIENCE_S
                while not switch.is_set:  # another thread sets it
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
        assert here() is None and signal.getsignal(signal.SIGINT) is before


def test_who_handles_the_signal_keeps_it() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with interruptible():
            assert here() is None
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_whoever_was_told_of_signals_is_told_again() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        before = signal.set_wakeup_fd(writing)
        try:
            with pytest.raises(KeyboardInterrupt), interruptible():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
        finally:
            assert signal.set_wakeup_fd(before) == writing
        assert os.read(reading, 8) == bytes([signal.SIGINT])
    finally:
        os.close(reading)
        os.close(writing)
