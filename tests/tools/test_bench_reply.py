"""The reply benchmark at tiny dimensions: both sides say the same, and the table has both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command import Capture
from tools.bench.reply import STREAMED, TRANSFORMERS, Spoken, differences, main, report

TEXT_TOKENS, CODES = 4, 13


def test_both_sides_say_the_same(nano: tuple[Path, Path], capsys: Capture) -> None:
    length = ("--text-tokens", str(TEXT_TOKENS), "--codes", str(CODES), "--rounds", "1")
    assert main(["--small", "--made", *map(str, nano), *length]) == 0
    out = capsys.readouterr().out
    assert "text and codec tokens are equal" in out
    assert f"{TEXT_TOKENS} text tokens, {CODES / 50:.2f} s of speech" in out
    rows = {cells[0]: cells[1:] for line in out.splitlines() if len(cells := _cells(line)) == 9}
    assert list(rows)[1:] == [TRANSFORMERS, *STREAMED, "offline"]
    for way in STREAMED:
        first_text, first_pcm, total, rtf, synthesis, *ratios, wave_db = map(float, rows[way])
        assert 0 < first_text < first_pcm <= total + 0.01
        assert 0 < synthesis < rtf
        assert min(ratios) > 0 and wave_db > 0
    # the offline wave is that of transformers; presets are tested elsewhere
    assert float(rows["offline"][-1]) > 60


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]


def spoken(**changed: object) -> Spoken:
    wave = np.ones(480, np.float32)
    return replace(Spoken("exact", 1.0, 2.0, 4.0, 3.0, [7, 8], [1, 2, 3], wave), **changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"codes": [1, 9, 3]}, "exact: codes differ at 1"),
        ({"codes": [1, 2]}, "exact: codes differ at the end"),
        ({"text_ids": [8, 8]}, "exact: text_ids differ at 0"),
        ({"wave": np.ones(240, np.float32)}, "exact: 240 samples, not 480"),
    ],
)
def test_another_reply_is_named(changed: dict[str, object], said: str) -> None:
    assert differences([spoken(), spoken()]) == []
    assert differences([spoken(), spoken(**changed)]) == [said]


def test_ratios_are_of_the_medians() -> None:
    theirs = spoken(way=TRANSFORMERS)
    taken = [[theirs, spoken(first_pcm_s=at, total_s=2 * at)] for at in (0.1, 0.4, 0.2)]
    ours = [list(column.cells)[1] for column in report(taken).columns]
    assert ours[:8] == ["exact", "1.000", "0.20", "0.40", "20.00", "150.00", "10.0", "10.00"]
