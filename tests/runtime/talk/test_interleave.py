"""Thinker and Talker in turns, with mocks: who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.thinker import TextStep
from omnijet.runtime.talk.interleave import interleave


def text(length: int, log: list[str]) -> Iterator[TextStep]:
    """`length` tokens; the last has no row."""
    for token in range(length):
        log.append(f"write {token}")
        yield TextStep(token, None if token == length - 1 else np.array([token]))


def speaker(codes: int, log: list[str]):
    """Says `codes` codes and notes which row each was told."""

    def speak(first: int, row: Array, following: Iterator[Array]) -> Iterator[int]:
        log.append(f"prefill {first} {int(row[0])}")
        rows = chain(following, repeat(np.array([-1])))
        for code in range(codes):
            yield 100 + code
            log.append(f"say with {int(next(rows)[0])}")

    return speak


@pytest.mark.parametrize(("tokens", "codes"), [(2, 5), (4, 1), (4, 9), (7, 3), (3, 0)])
def test_everything_comes_once_and_in_order(tokens: int, codes: int) -> None:
    events = list(interleave(text(tokens, []), speaker(codes, [])))
    assert [e.token for e in events if isinstance(e, TextStep)] == list(range(tokens))
    assert [e for e in events if not isinstance(e, TextStep)] == [100 + c for c in range(codes)]


def test_a_code_waits_for_its_row_and_never_reads_a_pad_early() -> None:
    log: list[str] = []
    list(interleave(text(4, log), speaker(5, log)))
    assert log == [
        "write 0", "prefill 0 0", "write 1", "say with 1", "write 2", "say with 2", "write 3",
        "say with -1", "say with -1", "say with -1",
    ]  # fmt: skip


def test_the_first_text_does_not_wait_for_the_talker() -> None:
    log: list[str] = []
    events = interleave(text(4, log), speaker(5, log))
    assert isinstance(first := next(events), TextStep) and first.token == 0
    assert log == ["write 0"]


def test_a_single_token_is_not_spoken() -> None:
    log: list[str] = []
    assert [e.token for e in interleave(text(1, log), speaker(5, log))] == [0]
    assert log == ["write 0"]
    assert list(interleave(iter(()), speaker(5, log))) == []


def test_without_a_speaker_there_is_text_alone() -> None:
    assert [e.token for e in interleave(text(3, []), None)] == [0, 1, 2]
