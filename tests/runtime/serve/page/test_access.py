"""The page for every hand, eye and ear: names, order of focus, contrast, small screens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.runtime.serve.page.browser import chromium, opened
from tests.runtime.serve.page.fake_realtime import FakeRealtime
from tests.runtime.serve.page.serving import serving

READY = "body[data-phase=ready]"

# For each text that is seen: its contrast with what lies behind it (WCAG 2.2, 1.4.3), and for each
# control the contrast of its face or edge with what is around it (1.4.11).
CONTRASTS = """() => {
  const numbers = (colour) => {
    const canvas = new OffscreenCanvas(1, 1);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((x, i) => a * x + (1 - a) * below[i]);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((x) => ((x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && !node.closest(".spoken-only, :disabled, .skip") && getComputedStyle(node).opacity === "1";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(node) || node.closest("script, noscript, option")) continue;
    const below = behind(node);
    found.push([node.textContent.trim().slice(0, 30), ratio(over(numbers(getComputedStyle(node).color), below), below)]);
  }
  for (const node of document.querySelectorAll("button, input, textarea, select")) {
    if (!seen(node)) continue;
    const below = behind(node);
    const colour = getComputedStyle(node, node.placeholder ? "::placeholder" : null).color;
    found.push([`${node.id || node.className}`, ratio(over(numbers(colour), below), below)]);
  }
  return found;
}"""  # noqa: E501
TARGETS = """() => [...document.querySelectorAll("button, input, select, textarea, a")]
  .filter((node) => node.checkVisibility({ opacityProperty: true }) && !node.matches(".skip, .modes input"))
  .map((node) => [node.id || node.className, node.getBoundingClientRect()])
  .filter(([_, box]) => box.width < 24 || box.height < 24)
  .map(([name, box]) => [name, box.width, box.height])"""  # noqa: E501
FOCUSED = """() => {
  const here = document.activeElement;
  const { outlineStyle } = getComputedStyle(here);
  const near = [here.nextElementSibling, here.closest("form")].filter((node) => node);
  const isShown = outlineStyle === "solid" || near.some((node) => {
    const { outlineStyle, boxShadow } = getComputedStyle(node);
    return outlineStyle === "solid" || boxShadow !== "none";
  });
  return [here.id || here.value || here.tagName, isShown];
}"""
"""What has the focus, and whether that is seen."""


@pytest.fixture(scope="module", params=["light", "dark"])
def talk(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """Returns a page on a small phone with one turn of each kind, in one of its two dresses."""
    fake = FakeRealtime()
    size = {"width": 320, "height": 568}
    with (
        serving(fake.app()) as port,
        opened(browser, port, viewport=size, color_scheme=request.param) as page,
    ):
        page.wait_for_selector(READY)
        page.set_input_files("#file", {"name": "a.svg", "mimeType": "image/png", "buffer": PIXEL})
        page.fill("#text", "What do you see in the upperleftcornerofthisverylongword?")
        page.press("#text", "Enter")
        page.wait_for_selector(".strip")
        page.wait_for_selector(READY)
        fake.send({"type": "error", "error": {"code": "x", "message": "The queue is full."}})
        expect(page.get_by_role("alert")).to_be_visible()
        yield page


@pytest.fixture
def settings(talk: Page) -> Iterator[Page]:
    """Returns the page with its settings open."""
    talk.get_by_role("button", name="Settings", exact=True).click()
    expect(talk.get_by_role("dialog", name="Settings")).to_be_visible()
    yield talk
    talk.get_by_role("button", name="Close the settings").click()


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
    "ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)


def weak(page: Page) -> list[tuple[str, float]]:
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 15
    return [(name, ratio) for name, ratio in contrasts if ratio < 4.5]


def test_every_text_stands_out(talk: Page) -> None:
    assert not weak(talk)


def test_every_text_of_the_settings_stands_out(settings: Page) -> None:
    assert not weak(settings)


def test_it_fits_a_small_screen_and_a_thumb(talk: Page) -> None:
    assert talk.evaluate("document.documentElement.scrollWidth") <= 320
    assert talk.evaluate("document.querySelector('main').scrollWidth") <= 320
    assert not talk.evaluate(TARGETS)


def test_everything_that_can_be_done_has_a_name(settings: Page) -> None:
    tree = settings.locator("body").aria_snapshot()
    assert "Voice" in tree and "Talk" in tree
    for line in tree.splitlines():
        for role in ("button", "textbox", "combobox", "slider", "radio", "img", "dialog"):
            if line.strip().lstrip("- ").startswith(role):
                assert '"' in line, line


def test_the_keyboard_reaches_everything_in_the_order_of_the_eye(page: Page) -> None:
    wanted = ["A", "open-settings", "MAIN", "talk", "hold", "choose", "open-camera", "text"]
    for name in wanted:
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED) == [name, True]


def test_a_dialog_keeps_the_focus_and_gives_it_back(page: Page) -> None:
    button = page.get_by_role("button", name="Settings")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()


def test_where_the_talk_stands_is_said_to_a_screen_reader(page: Page) -> None:
    status = page.get_by_role("status")
    expect(status).to_have_text("Ready")
    page.fill("#text", "Hello!")
    page.press("#text", "Enter")
    expect(status).to_have_text("Answering")
    expect(status).to_have_text("Ready")
    expect(page.get_by_role("log").get_by_role("article", name="Omnijet")).to_have_count(1)


def test_nothing_moves_for_who_wants_no_motion(browser: Browser) -> None:
    moving = "document.getAnimations().length > 0"
    with serving(FakeRealtime(seconds=3.0).app()) as port:
        for wish, moves in (("reduce", False), ("no-preference", True)):
            with opened(browser, port, reduced_motion=wish) as page:
                page.wait_for_selector(READY)
                page.fill("#text", "Hello!")
                page.press("#text", "Enter")
                page.wait_for_selector("body[data-phase=speaking]")
                assert page.evaluate(moving) == moves


def test_an_address_that_is_not_secure_is_told_with_the_way_out(
    playwright: Playwright,
) -> None:
    # the browser trusts 127.0.0.1, but no other name
    rule = "--host-resolver-rules=MAP assistant.test 127.0.0.1"
    with (
        serving(FakeRealtime().app()) as port,
        chromium(playwright, flags=[rule]) as browser,
        opened(browser, port, host="assistant.test") as page,
    ):
        page.wait_for_selector(READY)
        told = page.get_by_role("alert")
        expect(told).to_contain_text("not secure")
        expect(told).to_contain_text(f"http://localhost:{port}")
        page.get_by_role("button", name="Talk").click()
        expect(told).to_contain_text("no microphone")
        page.fill("#text", "Hello!")  # typing works, reading too
        page.press("#text", "Enter")
        expect(page.locator(".reply .words")).to_have_text("Three yellow stars.")
        page.wait_for_selector(".strip")
