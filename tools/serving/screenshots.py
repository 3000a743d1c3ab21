"""Pictures of the page for the documents: a headless browser talks with a bundle of Omnijet-nano.

    python -m tools.serving.screenshots BUNDLE

The browser's microphone is tests/media/follow_up.wav. What the pictures show was heard, seen and
said; nothing is staged but the questions.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import omnijet
from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.files.printable import show
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from tests.runtime.serve.page.browser import chromium, opened
from tests.runtime.serve.page.serving import serving

ROOT = Path(__file__).parent.parent.parent
MEDIA = ROOT / "tests" / "media"
OUT = ROOT / "docs" / "pictures"
COLOURS = 128
QUESTION_MS = 1200


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its size in points, how many pixels a point has, and the dress of the page."""

    name: str
    width: int
    height: int
    scale: float
    dress: str


SHOTS = (
    Shot("page-light", 880, 900, 1.5, "light"),
    Shot("page-dark", 880, 900, 1.5, "dark"),
    Shot("page-phone", 375, 740, 2, "light"),
)


def converse(page: Page) -> None:
    """Asks what is in a picture, and which colour it has, the latter aloud."""
    page.wait_for_selector("body[data-phase=ready]")
    page.set_input_files("#file", MEDIA / "drawing.png")
    page.wait_for_selector(".picture")
    page.fill("#text", "What do you see?")
    page.press("#text", "Enter")
    _wait_for_answers(page, 1)
    page.locator("#talk").focus()
    page.keyboard.down("Space")
    page.wait_for_selector("body[data-phase=hearing]")
    page.wait_for_timeout(QUESTION_MS)
    page.keyboard.up("Space")
    _wait_for_answers(page, 2)


def _wait_for_answers(page: Page, count: int) -> None:
    page.wait_for_function(
        "count => document.querySelectorAll('.strip').length === count", arg=count
    )
    page.wait_for_selector("body[data-phase=ready]")


def saved(png: bytes, path: Path) -> int:
    """Writes a small PNG with few colours; returns its size in bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    return path.stat().st_size


def main() -> None:
    """Takes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    config = ServeConfig(bundle=str(args.bundle), model="omnijet-nano", preset="fast")
    with (
        omnijet.load(args.bundle) as omni,
        Assistant(omni, config.limits()) as assistant,
        serving(make_app(config, assistant)) as port,
        sync_playwright() as playwright,
        chromium(playwright, MEDIA / "follow_up.wav") as browser,
    ):
        for shot in SHOTS:
            size = {"width": shot.width, "height": shot.height}
            with opened(
                browser,
                port,
                viewport=size,
                device_scale_factor=shot.scale,
                color_scheme=shot.dress,
            ) as page:
                converse(page)
                page.locator("main").evaluate("node => document.activeElement.blur()")
                path = args.out / f"{shot.name}.png"
                size_bytes = saved(page.screenshot(animations="disabled"), path)
            show(f"{path}: {size_bytes / 1000:.0f} kB")


if __name__ == "__main__":
    main()
