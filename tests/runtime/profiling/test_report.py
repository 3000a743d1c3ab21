"""The page loads nothing and shows the important figures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from omnijet.runtime.profiling.advice import ANY, Advice
from omnijet.runtime.profiling.report import html
from omnijet.runtime.profiling.resident import Resident
from tests.runtime.profiling.profiles import TRACK, flat, profile, result


class Tags(HTMLParser):
    """Collects the tags and checks that each is closed in order."""

    ALONE = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[str]:
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    return parser.seen


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = html(profile(result()), {"text": TRACK})
    seen = tags(page)
    assert seen.count("svg") == 5  # waits, memory, timeline, floors, steps
    assert not {"script", "link", "img", "iframe"} & set(seen)
    assert not re.search(r"https?:|url\(|@import|src=", page)
    assert "prefers-color-scheme:dark" in page


def test_key_figures_have_percentiles_and_a_slow_reply_is_marked() -> None:
    slow = replace(result(), rates={"rtf": flat(1.5)})
    page = html(profile(slow), {})
    assert 'class="edge key">100</td>' in page  # first PCM
    assert 'class="edge key late">1.50</td>' in page
    assert 'late">' not in html(profile(result()), {})


def test_hashes_versions_and_advice_are_shown() -> None:
    page = html(profile(result(graph_us=110, host_us=10)), {"text": TRACK})
    assert "0" * 64 in page and "numpy 2" in page and "bandwidth-bound" in page


def test_advice_on_the_machine_comes_before_the_scenarios() -> None:
    said = Advice(ANY, "governor", "machine", "clocks follow the load")
    page = html(replace(profile(result()), advice=(said,)), {})
    assert page.count(said.message) == 1 and page.index(said.message) < page.index("<h2")


def test_names_cannot_break_the_page() -> None:
    outcome = replace(profile(result(), "<q>&"), advice=(Advice("<q>&", "r", "<q>", "<u>"),))
    page = html(outcome, {"<q>&": replace(TRACK, name="<s>")})
    assert not {"q", "u", "s"} & set(tags(page)) and "&lt;q&gt;&amp;" in page


def test_a_scenario_without_speech_is_shown() -> None:
    silent = replace(result(), latency_ms={"first_text": flat(3.0)}, rates={}, until_pcm_ms={})
    assert "–</td>" in html(profile(silent), {})


def test_a_peak_of_the_whole_process_is_called_that() -> None:
    kept = replace(result(), memory=Resident(1, 2, 3, "process"))
    assert "keeps for the whole process" in html(profile(kept), {})
    assert "keeps for the whole process" not in html(profile(result()), {})
