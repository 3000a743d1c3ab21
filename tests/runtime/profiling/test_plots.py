"""Plots are well-formed and to scale."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from omnijet.runtime.profiling.distribution import Histogram
from omnijet.runtime.profiling.floor import Floor
from omnijet.runtime.profiling.plots import against_floor, legend, memory, steps, waits
from omnijet.runtime.profiling.resident import Resident
from tests.runtime.profiling.profiles import FLOORS, flat, result


def bars(svg: str) -> dict[str, list[float]]:
    """Returns the widths of the bars by title."""
    found: dict[str, list[float]] = {}
    for node in ElementTree.fromstring(svg).iter("rect"):
        title = node.find("title")
        assert title is not None and title.text
        found.setdefault(title.text, []).append(float(node.get("width") or 0))
    return found


def test_shares_are_to_scale() -> None:
    widths = bars(waits({"text": result(pcm=100.0), "clip": result(pcm=200.0)}))
    assert widths["dit: 40.0 ms"][0] == pytest.approx(2 * widths["dit: 20.0 ms"][0], abs=0.02)
    assert widths["other: 160 ms"][0] == pytest.approx(4 * widths["dit: 40.0 ms"][0], abs=0.02)


def test_without_speech_nothing_is_waited_for() -> None:
    assert waits({"text": replace(result(), latency_ms={})}) == ""


def test_the_floor_is_the_full_part_of_a_bar() -> None:
    outcome = result()
    widths = bars(against_floor(outcome, {**FLOORS, "dit": Floor("operations", 5e9, 1e12)}))
    (whole, floor), = (w for title, w in widths.items() if title.startswith("dit"))  # fmt: skip
    assert floor == pytest.approx(whole / 4, abs=0.02)  # 5 of 20 ms
    assert any("1.0 MB at 10.0 GB/s" in title for title in widths)


def test_steps_show_their_floor_if_it_is_near() -> None:
    step = result().steps["thinker_decode"]
    near, far = (Floor("bytes", amount, 1e10) for amount in (9e5, 1e5))
    assert 'class="floor"' in steps("thinker_decode", step, near)
    far_drawn = steps("thinker_decode", step, far)
    assert 'class="floor"' not in far_drawn and "← floor 10.0" in far_drawn
    assert "floor" not in steps("thinker_decode", step, None)


def test_a_bar_is_as_tall_as_its_bin_is_full() -> None:
    step = replace(
        result().steps["thinker_decode"], total_us=flat(2.0),
        histogram=Histogram((0.0, 2.0, 4.0), (4, 1), 3),
    )  # fmt: skip
    svg = steps("thinker_decode", step, None)
    first, second = ElementTree.fromstring(svg).iter("rect")
    assert float(first.get("height") or 0) == pytest.approx(4 * float(second.get("height") or 1))
    assert "3 of 5 beyond" in svg


def test_the_legend_is_in_the_order_of_the_work() -> None:
    shown = legend(["vocoder", "talker_prefill", "thinker_decode", "unheard of"])
    places = [shown.index(name) for name in ("thinker", "talker", "vocoder", "unheard")]
    assert places == sorted(places)


def test_memory_is_to_scale_and_of_what_there_is() -> None:
    svg = memory({"text": result()}, 10**9)  # 60 MB before, 80 after, 100 at most
    widths = bars(svg)
    assert widths["before 60 MB"][0] == pytest.approx(0.6 * widths["peak 100 MB"][0], abs=0.02)
    assert "60 → 80 MB, peak 100, 10.0% of 1.0 GB" in svg
    assert "% of" not in memory({"text": result()}, 0)
    silent = replace(result(), memory=Resident(0, 0, 0, "unknown"))
    assert memory({"text": silent}, 10**9) == ""
