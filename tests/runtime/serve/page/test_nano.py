"""The page, the server and Omnijet-nano: a browser's microphone hears, its loudspeaker answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from tests.runtime.serve.page.browser import opened
from tests.runtime.serve.page.recording import Recording
from tests.runtime.serve.page.serving import serving
from tests.scripted import scripted

ANSWER = "four seven one"
LONG = " ".join(["four seven one nine two eight"] * 12)
ANSWERED = "body[data-phase=listening] .strip"
SLOW_MS = 60_000.0


@pytest.fixture(scope="module")
def omni(trained: tuple[Path, Path]) -> Iterator[Omni]:
    with Omni.open(trained[1], backend=OrtBackend(threads=1)) as opened_:
        yield opened_


def listen(page: Page) -> None:
    """Opens the microphone: the browser plays the question into it, from its beginning."""
    page.get_by_role("button", name="Listen").click()


def begin(page: Page) -> Recording:
    page.set_default_timeout(SLOW_MS)
    page.wait_for_selector("body[data-phase=ready]")
    page.get_by_role("radio", name="Hands free").check()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Voice").select_option("Ethan")  # whose "four" the recogniser understands
    page.get_by_label("Speech").select_option("fast")
    page.keyboard.press("Escape")
    recording = Recording(page)
    listen(page)
    return recording


def test_it_hears_the_question_says_the_answer_and_survives_a_restart(
    browser: Browser, omni: Omni
) -> None:
    config, recogniser = ServeConfig(), Recogniser()
    with ExitStack() as stack:
        with Assistant(omni) as assistant, serving(make_app(config, assistant)) as port:
            page = stack.enter_context(opened(browser, port))
            recording = begin(page)
            page.wait_for_selector(ANSWERED)
            expect(page.locator(".reply .words")).to_have_text(ANSWER)
            assert recogniser.words(recording.words(), recording.rate_hz) == ANSWER.split()
            assert page.locator(".user .clip-length").count() == 1
            marks = page.locator(".strip dt").all_inner_texts()
            assert marks == ["turn’s end", "first text", "first code", "first PCM", "heard here"]
            times = [int(text.split()[0]) for text in page.locator(".strip dd").all_inner_texts()]
            assert times == sorted(times) and times[0] >= 300
            listen(page)  # no more
        page.wait_for_selector("body[data-phase=waiting]")
        with Assistant(omni) as assistant, serving(make_app(config, assistant), port):
            page.wait_for_selector("body[data-phase=ready]")
            expect(page.locator(".notice p")).to_contain_text("remembers nothing")
            again = Recording(page)
            listen(page)
            page.wait_for_function("() => document.querySelectorAll('.strip').length === 2")
            page.wait_for_selector("body[data-phase=listening]")
            assert recogniser.words(again.words(), again.rate_hz) == ANSWER.split()


def test_who_speaks_into_an_answer_cuts_it_and_the_model_forgets_what_was_not_heard(
    browser: Browser, omni: Omni
) -> None:
    with (
        scripted(omni, LONG, ANSWER) as script,
        Assistant(omni) as assistant,
        serving(make_app(ServeConfig(), assistant)) as port,
        opened(browser, port) as page,
    ):
        recording = begin(page)
        page.wait_for_selector("body[data-phase=speaking]")
        listen(page)  # off, and on again: the question sounds once more, into the answer
        listen(page)
        page.wait_for_selector(".remark")
        said = recording.sounding().size / recording.rate_hz
        page.wait_for_selector(".unheard")
        page.wait_for_function("() => document.querySelectorAll('.reply').length === 2")
        page.wait_for_selector(ANSWERED)
        heard = page.locator(".reply .words").first.inner_text()
        lost = page.locator(".unheard").inner_text()
        kept = heard.removesuffix(lost).strip()
        assert lost.strip() and LONG.startswith(kept) and len(kept) < len(LONG) / 2
        expect(page.locator(".reply .words").last).to_have_text(ANSWER)
        assert said < 20.0
        answer_before = script.prompts[-1].rpartition("assistant\n")[0].rpartition("assistant\n")[2]
        assert answer_before.split("<")[0].strip() == kept
