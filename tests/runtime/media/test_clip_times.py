from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.media.clip_times import Mark, stamps_of


def seconds(marks: list[Mark], header_fps: float | None = 25.0) -> list[float]:
    return [round(float(time), 3) for time in stamps_of(marks, 0.001, header_fps).seconds]


def test_frames_are_put_in_the_order_of_display() -> None:
    marks = [Mark(5.0, 4.92), Mark(5.12, 4.96), Mark(5.04, 5.0), Mark(5.08, 5.04)]
    found = stamps_of(marks, 0.001, 25.0)
    assert seconds(marks) == [0, 0.04, 0.08, 0.12]
    assert found.origin == 5.0 and found.duration == pytest.approx(0.16)


def test_packets_without_time_go_by_their_order_or_the_rate() -> None:
    assert seconds([Mark(None, 0.0), Mark(None, 0.5), Mark(None, 2.0)]) == [0, 0.5, 2]
    assert seconds([Mark(None, None)] * 3, 10.0) == [0, 0.1, 0.2]
    assert seconds([Mark(1.0, None), Mark(None, None), Mark(1.08, None)]) == [0, 0.04, 0.08]
    with pytest.raises(ValueError, match="rate is unknown"):
        seconds([Mark(None, None)] * 3, None)


def test_joined_pieces_follow_each_other() -> None:
    """Recordings that were joined byte by byte begin again with the first timestamp."""
    piece = [Mark(3 + i / 10, 3 + i / 10) for i in range(20)]
    assert seconds([*piece, *piece]) == [round(i / 10, 3) for i in range(40)]


def test_a_damaged_timestamp_does_not_last_for_years() -> None:
    marks = [Mark(i / 10, i / 10) for i in range(10)]
    marks[4] = Mark(4e9, 0.4)
    found = stamps_of(marks, 0.001, 10.0)
    assert found.duration < 1.3 and len(found.seconds) == 10
    assert np.all(np.diff(found.seconds) >= 0)
    assert stamps_of([Mark(0.0, 0.0, 9e9)], 0.001, 10.0).duration < 1


def test_equal_timestamps_are_kept() -> None:
    assert seconds([Mark(0.0, 0.0), Mark(0.0, 0.0), Mark(0.1, 0.1)]) == [0, 0, 0.1]
