"""One browser for the tests of a file, and a server that each test scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.runtime.serve.page.browser import chromium, opened
from tests.runtime.serve.page.fake_realtime import FakeRealtime
from tests.runtime.serve.page.serving import serving

MEDIA = Path(__file__).parents[3] / "media"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright, MEDIA / "question.wav") as started:
        yield started


@pytest.fixture
def fake() -> FakeRealtime:
    return FakeRealtime()


@pytest.fixture
def page(browser: Browser, fake: FakeRealtime) -> Iterator[Page]:
    """Returns the page, connected to the fake server."""
    with serving(fake.app()) as port, opened(browser, port) as page:
        page.wait_for_selector("body[data-phase=ready]")
        yield page
