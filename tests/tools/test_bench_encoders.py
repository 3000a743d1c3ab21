"""The benchmark of the encoders measures both sides on the same inputs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.bench import encoders
from tools.bench.encoders_child import Job, ours, theirs


@pytest.mark.parametrize(
    ("grid", "frames", "tokens"), [((1, 4, 6), 0, 6), ((3, 4, 6), 0, 18), (None, 230, 57)]
)
def test_both_sides_make_as_many_rows(
    trained: tuple[Path, Path], grid: tuple[int, int, int] | None, frames: int, tokens: int
) -> None:
    job = Job(None, "nano", grid, frames, threads=1, rounds=1)
    made = ours(replace(job, folder=str(trained[1])))()
    assert isinstance(made, np.ndarray) and len(made) == tokens
    found: Any = theirs(job)()
    assert len(getattr(found, "last_hidden_state", found)) == tokens


def test_a_table_is_printed(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--pictures", "1920x1080", "--clips", "3x112x56", "--sounds", "2.5"]
    options = ["--no-peer", "--threads", "1", "--rounds", "1"]
    assert encoders.main([str(trained[1]), *options, *sizes]) == 0
    out = capsys.readouterr().out
    assert (
        "10,764 patches" in out
        and "clip 3x112x56, 96 patches" in out
        and "sound of 2.5 s" in out
        and "failed" not in out
    )
    peaks = [float(one) for one in re.findall(r" x +│ +│ ([\d.]+) ", out)]
    assert len(peaks) == 3 and all(0.03 < peak < 2 for peak in peaks)


def test_what_cannot_be_measured_is_said(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        encoders.main([str(trained[1]), "--pictures", "large"])
    assert "is no size such as 1920x1080" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        encoders.main([str(trained[1]), "--clips", "448x448"])
    assert "is no size such as 8x448x224" in capsys.readouterr().err
