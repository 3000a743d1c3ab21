"""A short run of `tools.fuzz` passes; what hangs, dies or raises is found and named."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from omnijet.runtime.errors import OmnijetError
from tools.fuzz import run as module
from tools.fuzz.__main__ import main
from tools.fuzz.kinds import KINDS
from tools.fuzz.mutate import changed, damaged
from tools.fuzz.run import tried
from tools.fuzz.worker import Job, Outcome, _tried


def test_a_short_run(nano: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(nano[1]), "--count", "60", "--workers", "1", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert all(kind in said for kind in KINDS)


def test_every_input_is_made_again_from_its_number() -> None:
    data = {"a": [1, {"b": "c"}], "d": 0.5}
    for seed in range(50):
        assert repr(changed(data, Random(seed))) == repr(changed(data, Random(seed)))
        assert damaged(b"content" * 9, Random(seed)) == damaged(b"content" * 9, Random(seed))
    assert data == {"a": [1, {"b": "c"}], "d": 0.5}


def test_only_a_fault_that_is_told_is_a_refusal() -> None:
    def refuses(rng: Random) -> None:
        raise OmnijetError("no")

    def fails(rng: Random) -> None:
        raise RecursionError("deep")

    assert _tried(refuses, Random(0)) == ("refused", "")
    end, detail = _tried(fails, Random(0))
    assert end == "traceback" and "RecursionError: deep" in detail
    assert _tried(lambda rng: None, Random(0))[0] == "taken"


def _bad(pipe, bundle: Path, seed: int, errors: Path) -> None:
    """Stands in for a worker: the first input hangs, the second kills it."""
    pipe.send(None)
    while (job := pipe.recv()) is not None:
        if job.index == 0:
            time.sleep(60)
        if job.index == 1:
            errors.write_text("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        end = "taken"
        pipe.send(Outcome(job, end, 0.0, (3 << 30) if job.index == 2 else 0))


def test_hangs_crashes_and_hunger_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "work", _bad)
    monkeypatch.setattr(module, "LONGEST_SECONDS", 1.0)
    found: list[Outcome] = []
    jobs = iter([Job("image", index) for index in range(4)])
    tried(jobs, Path(), 0, 1, found.append)
    assert [outcome.end for outcome in found] == ["hang", "crash", "memory", "taken"]
    assert found[1].detail == "last words"
