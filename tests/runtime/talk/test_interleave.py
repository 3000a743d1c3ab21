"""Thinker and Talker in turns, with mocks: who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass
class Held:
    """Says after each written token how many are spoken."""

    log: list[str]
    counts: dict[int, int]
    silent_from: int | None = None

    @property
    def _written(self) -> int:
        return sum(line.startswith("write") for line in self.log)

    @property
    def spoken(self) -> int:
        return self.counts.get(self._written, self._written)

    @property
    def is_silent(self) -> bool:
        return self.silent_from is not None and self._written >= self.silent_from


def test_a_row_waits_until_it_is_certain_to_be_spoken() -> None:
    """Tokens 1 and 2 may begin a marker; token 3 shows that they do not."""
    log: list[str] = []
    events = list(interleave(text(5, log), speaker(6, log), Held(log, {2: 1, 3: 1})))
    assert log == [
        "write 0", "prefill 0 0", "write 1", "write 2", "write 3", "say with 1", "say with 2",
        "say with 3", "write 4", "say with -1", "say with -1", "say with -1",
    ]  # fmt: skip
    tokens = [event.token if isinstance(event, TextStep) else event for event in events]
    assert tokens == [0, 100, 1, 2, 3, 101, 102, 103, 4, 104, 105]


def test_what_is_not_spoken_is_written_beside_the_codes() -> None:
    """Tokens 2 and 3 are a marker: neither they nor what follows reaches the Talker."""
    log: list[str] = []
    held = Held(log, {3: 2, 4: 2, 5: 2, 6: 2}, silent_from=4)
    events = list(interleave(text(7, log), speaker(4, log), held))
    assert log == [
        "write 0", "prefill 0 0", "write 1", "say with 1", "write 2", "write 3", "say with -1",
        "write 4", "say with -1", "write 5", "say with -1", "write 6",
    ]  # fmt: skip
    tokens = [event.token if isinstance(event, TextStep) else event for event in events]
    assert tokens == [0, 100, 1, 101, 2, 3, 102, 4, 103, 5, 6]


def test_nothing_is_spoken_if_the_marker_comes_first() -> None:
    log: list[str] = []
    held = Held(log, dict.fromkeys(range(9), 0), silent_from=2)
    events = list(interleave(text(5, log), speaker(6, log), held))
    assert [event.token for event in events] == [0, 1, 2, 3, 4]
    assert not any("prefill" in line for line in log)
