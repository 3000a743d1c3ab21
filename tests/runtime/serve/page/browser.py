"""A headless Chromium with a microphone made of a WAV, and a page in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")

EXPECTED = ("ERR_", "401", "Cross-Origin-Opener-Policy")
"""What a browser writes of a lost connection, a refused key and an address that is not secure."""


@contextmanager
def chromium(
    playwright: Playwright, microphone: Path | None = None, flags: Sequence[str] = ()
) -> Iterator[Browser]:
    """Starts the system's Chromium; skips the test where there is none.

    Args:
        microphone: a WAV that is heard once the page opens the microphone; a beep by default.
        flags: more of them.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    args = [
        *flags,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-gpu",
    ]
    if microphone is not None:
        args.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    browser = playwright.chromium.launch(executable_path=program, args=args)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def opened(
    browser: Browser, port: int, host: str = "127.0.0.1", **options: object
) -> Iterator[Page]:
    """Opens the page; fails if it wrote errors that nobody expects."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: _note(message, faults))
    page.goto(f"http://{host}:{port}/")
    yield page
    context.close()
    assert not faults, faults


def _note(message: ConsoleMessage, faults: list[str]) -> None:
    if message.type == "error" and not any(words in message.text for words in EXPECTED):
        faults.append(message.text)
