"""The page against a server that answers by a script: talk, type, show, interrupt, reconnect."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from omnijet.runtime.bundle.contract import Array
from tests.runtime.serve.page.browser import opened
from tests.runtime.serve.page.fake_realtime import FakeRealtime
from tests.runtime.serve.page.recording import Recording
from tests.runtime.serve.page.serving import serving

MEDIA = Path(__file__).parents[3] / "media"
READY = "body[data-phase=ready]"
NO_MICROPHONE = """() => {
  const refusal = new DOMException("no", "NotAllowedError");
  navigator.mediaDevices.getUserMedia = () => Promise.reject(refusal);
}"""
PRESSED_TWICE = """() => {
  for (const name of ["keydown", "keyup", "keydown", "keyup"]) {
    document.body.dispatchEvent(new KeyboardEvent(name, { code: "Space", bubbles: true }));
  }
}"""


def heard(fake: FakeRealtime) -> Array:
    """Returns what the page sent of the microphone: int16 at 24 kHz."""
    parts = [event["audio"] for event in fake.events if event["type"].endswith("buffer.append")]
    return np.concatenate([np.frombuffer(base64.b64decode(part), "<i2") for part in parts])


def write(page: Page, words: str) -> None:
    page.fill("#text", words)
    page.press("#text", "Enter")


def hold(page: Page, seconds: float) -> None:
    """Holds the space bar."""
    page.locator("main").focus()
    page.keyboard.down("Space")
    page.wait_for_selector("body[data-phase=hearing]")
    page.wait_for_timeout(1e3 * seconds)
    page.keyboard.up("Space")


def is_tone(samples: Array, rate_hz: int) -> bool:
    """Says whether samples are one tone of 440 Hz without a gap or a seam."""
    at = np.arange(samples.size)
    wave = np.stack([f(2 * np.pi * 440 / rate_hz * at) for f in (np.sin, np.cos)], 1)
    rest = samples - wave @ np.linalg.lstsq(wave, samples, rcond=None)[0]
    return bool(np.abs(rest).max() < 0.02 * np.abs(samples).max())


def test_a_typed_message_is_answered_with_words_and_sound_without_gaps(
    page: Page, fake: FakeRealtime
) -> None:
    recording = Recording(page)
    write(page, "What do you see?")
    page.wait_for_selector(".strip")
    page.wait_for_selector(READY)
    expect(page.locator(".reply .words")).to_have_text("Three yellow stars.")
    expect(page.locator(".user .words")).to_have_text("What do you see?")
    (item,) = fake.wait_for("conversation.item.create")
    assert item["item"]["content"] == [{"type": "input_text", "text": "What do you see?"}]
    played = recording.sounding()
    assert abs(played.size / recording.rate_hz - fake.seconds) < 0.01
    edge = recording.rate_hz // 100
    assert is_tone(played[edge:-edge], recording.rate_hz)
    strip = page.locator(".strip dd").all_inner_texts()
    assert strip[:4] == ["500 ms", "562 ms", "572 ms", "680 ms"] and len(strip) == 5
    assert page.locator(".strip").get_attribute("aria-label") == "Latency from sending"


def test_sound_that_comes_too_late_is_gathered_and_goes_on(page: Page, fake: FakeRealtime) -> None:
    fake.pace, fake.seconds = 2.0, 0.8  # each chunk takes twice as long as it sounds
    recording = Recording(page)
    write(page, "Hello!")
    page.wait_for_selector(READY)
    expect(page.locator(".remark")).to_contain_text("because it came late")
    words = recording.words()  # without the gaps, everything is there, once
    assert abs(words.size / recording.rate_hz - fake.seconds) < 0.06


def test_what_is_said_while_the_space_bar_is_held_reaches_the_server(
    page: Page, fake: FakeRealtime
) -> None:
    hold(page, 1.0)
    fake.wait_for("response.create")
    kinds = [event["type"] for event in fake.events]
    assert kinds.index("input_audio_buffer.clear") < kinds.index("input_audio_buffer.append")
    assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
    sound = heard(fake)
    assert 0.7 < sound.size / 24_000 < 3
    assert np.abs(sound).max() > 1000  # the question, not silence
    page.wait_for_selector(".strip")
    length = page.locator(".user .clip-length").inner_text()
    assert length == f"{sound.size / 24_000:.1f} s"
    assert page.locator(".user .words").count() == 0  # nobody wrote down the words
    assert page.locator(".strip").get_attribute("aria-label") == "Latency from the end of speech"


def test_a_tap_begins_and_the_next_one_sends(page: Page, fake: FakeRealtime) -> None:
    talk = page.get_by_role("button", name="Talk")
    talk.click()
    page.wait_for_selector("body[data-phase=hearing]")
    assert talk.get_attribute("aria-pressed") == "true"
    fake.wait_for("input_audio_buffer.append", 12)
    talk.press("Enter")  # a screen reader or a key may end what a finger began
    fake.wait_for("response.create")
    assert talk.get_attribute("aria-pressed") == "false"


def test_a_slip_of_the_finger_asks_nothing(page: Page, fake: FakeRealtime) -> None:
    page.evaluate(PRESSED_TWICE)  # within no time
    fake.wait_for("input_audio_buffer.clear", 2)
    page.wait_for_selector(READY)
    assert not [event for event in fake.events if event["type"] == "input_audio_buffer.commit"]
    assert page.locator(".entry").count() == 0


@pytest.mark.parametrize("way", ["Escape", "button", "speaking"])
def test_an_interruption_falls_silent_at_once_and_tells_what_was_heard(
    page: Page, fake: FakeRealtime, way: str
) -> None:
    fake.words, fake.seconds = ("One ", "two ", "three."), 8.0
    fake.heard = "One"
    recording = Recording(page)
    write(page, "Count!")
    recording.wait_for(0.7)
    if way == "Escape":
        page.keyboard.press("Escape")
    elif way == "button":
        page.get_by_role("button", name="Stop the reply").click()
    else:
        page.locator("main").focus()
        page.keyboard.down("Space")
    (cut,) = fake.wait_for("conversation.item.truncate")
    page.wait_for_selector(".unheard")
    played = 1e3 * recording.sounding().size / recording.rate_hz
    assert 300 < cut["audio_end_ms"] <= played + 1
    assert played - cut["audio_end_ms"] < 1000  # what the loudspeaker had not put out yet
    assert len(fake.wait_for("response.cancel")) == 1
    assert page.locator(".unheard").inner_text().strip() == "two three."
    if way == "speaking":
        page.wait_for_selector("body[data-phase=hearing]")
        page.keyboard.up("Space")


def test_hands_free_the_server_hears_the_user_and_the_page_falls_silent(
    page: Page, fake: FakeRealtime
) -> None:
    fake.words, fake.seconds = ("One ", "two ", "three."), 8.0
    page.get_by_role("radio", name="Hands free").check()
    (update,) = fake.wait_for("session.update", fits=lambda event: detection(event) is not None)
    assert detection(update)["type"] == "server_vad"
    page.get_by_role("button", name="Listen").click()
    page.wait_for_selector("body[data-phase=listening]")
    fake.wait_for("input_audio_buffer.append", 20)
    fake.send(started("in_a", 200))
    page.wait_for_selector("body[data-phase=hearing]")
    fake.send(
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 700, "item_id": "in_a"},
        {"type": "input_audio_buffer.committed", "item_id": "in_a"},
    )
    fake.answer()
    page.wait_for_selector("body[data-phase=speaking]")
    assert page.locator(".user .clip-length").inner_text() == "0.5 s"
    fake.send(started("in_b", 900))
    (cut,) = fake.wait_for("conversation.item.truncate")
    page.wait_for_selector("body[data-phase=hearing]")
    assert cut["item_id"].startswith("out_")
    kinds = {event["type"] for event in fake.events}
    assert not kinds & {"response.create", "input_audio_buffer.commit", "response.cancel"}
    page.get_by_role("button", name="Listen").click()  # off again
    page.wait_for_selector("body:not([data-phase=hearing])")
    assert page.locator(".user").count() == 1  # what was not finished is not kept


def detection(event: dict) -> dict | None:  # type: ignore[type-arg]
    found: dict | None = event["session"]["audio"]["input"]["turn_detection"]  # type: ignore[type-arg]
    return found


def started(item: str, ms: int) -> dict[str, object]:
    return {"type": "input_audio_buffer.speech_started", "audio_start_ms": ms, "item_id": item}


def test_what_is_said_can_be_played_again(page: Page) -> None:
    hold(page, 0.8)
    play = page.get_by_role("button", name="Play what you said")
    play.click()
    stop = page.get_by_role("button", name="Stop what you said")
    expect(stop).to_be_visible()
    expect(play).to_be_visible()  # it has ended by itself


def test_pictures_are_made_small_and_sounds_are_asked(page: Page, fake: FakeRealtime) -> None:
    page.set_input_files("#file", MEDIA / "drawing.png")
    page.get_by_role("button", name="Take the picture back").click()
    page.set_input_files("#file", MEDIA / "drawing.png")
    page.wait_for_selector(".picture")
    write(page, "What do you see?")
    (asked,) = fake.wait_for("conversation.item.create")  # one message, one picture
    picture, text = asked["item"]["content"]
    assert picture["type"] == "input_image" and text["text"] == "What do you see?"
    assert picture["image_url"].startswith("data:image/jpeg;base64,")
    page.set_input_files("#file", MEDIA / "question.wav")
    _, asked = fake.wait_for("conversation.item.create", 2)
    (part,) = asked["item"]["content"]
    samples = np.frombuffer(base64.b64decode(part["audio"]), "<i2")
    assert part["type"] == "input_audio" and abs(samples.size / 24_000 - 1.445) < 0.01
    fake.wait_for("response.create")


def test_a_large_picture_is_shrunk_in_the_browser(page: Page) -> None:
    script = """async () => {
      const { shrunk } = await import("/page/picture.js");
      const canvas = new OffscreenCanvas(3000, 1500);
      canvas.getContext("2d").fillRect(0, 0, 10, 10);
      const url = await shrunk(await canvas.convertToBlob());
      const picture = new Image();
      picture.src = url;
      await picture.decode();
      return [picture.width, picture.height];
    }"""
    assert page.evaluate(script) == [1024, 512]


def test_the_camera_shows_a_frame_with_every_turn(page: Page, fake: FakeRealtime) -> None:
    page.get_by_role("button", name="Camera", exact=True).click()
    page.get_by_role("button", name="Show this").click()
    page.wait_for_selector(".picture")
    page.get_by_label("every turn").check()
    hold(page, 0.6)
    fake.wait_for("response.create")
    kinds = [event["type"] for event in fake.events]
    created = [at for at, kind in enumerate(kinds) if kind == "conversation.item.create"]
    assert len(created) == 2 and created[1] < kinds.index("input_audio_buffer.append")
    for shown in fake.wait_for("conversation.item.create", 2):
        (part,) = shown["item"]["content"]
        assert part["image_url"].startswith("data:image/jpeg;base64,")
    page.get_by_role("button", name="Close the camera").click()
    expect(page.locator("#viewfinder")).to_be_hidden()


def test_the_conversation_outlives_a_restart_of_the_server(browser: Browser) -> None:
    first, second = FakeRealtime(), FakeRealtime()
    listening = "body[data-phase=listening]"
    with ExitStack() as stack:
        with serving(first.app()) as port:
            page = stack.enter_context(opened(browser, port))
            page.wait_for_selector(READY)
            page.get_by_role("radio", name="Hands free").check()
            page.get_by_role("button", name="Listen").click()
            page.set_input_files("#file", MEDIA / "drawing.png")
            page.wait_for_selector(".picture")
            write(page, "What do you see?")
            page.wait_for_selector(".strip")
            page.wait_for_selector(listening)
        page.wait_for_selector("body[data-phase=waiting]")
        expect(page.get_by_role("button", name="Try now")).to_be_visible()
        assert "Next try in" in page.locator("#status-words").inner_text()
        write(page, "Is anybody there?")
        assert page.locator("#text").input_value() == "Is anybody there?"  # kept, not lost
        with serving(second.app(), port):
            page.wait_for_selector(listening)  # still hands free
            second.wait_for("input_audio_buffer.append", 3)
            expect(page.locator(".notice p")).to_contain_text("remembers nothing")
            expect(page.locator(".reply .words")).to_have_text("Three yellow stars.")
            page.get_by_role("button", name="Tell it again").click()
            told = [event["item"] for event in second.wait_for("conversation.item.create", 2)]
            assert [item["role"] for item in told] == ["user", "assistant"]
            assert [part["type"] for part in told[0]["content"]] == ["input_image", "input_text"]
            assert told[1]["content"] == [{"type": "output_text", "text": "Three yellow stars."}]
            page.press("#text", "Enter")
            second.wait_for("response.create")


def test_a_model_without_a_voice_is_read(browser: Browser) -> None:
    fake = FakeRealtime(modality="text", models={"voices": [], "presets": []})
    with serving(fake.app()) as port, opened(browser, port) as page:
        page.wait_for_selector(READY)
        write(page, "What do you see?")
        page.wait_for_selector(".strip")
        expect(page.locator(".reply .words")).to_have_text("Three yellow stars.")
        expect(page.locator("#announcement")).to_have_text("Three yellow stars.")
        (update,) = fake.wait_for("session.update")
        assert update["session"]["output_modalities"] == ["text"]
        assert "output" not in update["session"]["audio"]
        page.get_by_role("button", name="Settings").click()
        expect(page.get_by_label("Voice")).to_be_hidden()


@pytest.fixture
def locked() -> Iterator[tuple[FakeRealtime, int]]:
    fake = FakeRealtime(key="open sesame")
    with serving(fake.app()) as port:
        yield fake, port


def test_a_key_is_asked_for_and_kept_in_the_tab(
    browser: Browser, locked: tuple[FakeRealtime, int]
) -> None:
    fake, port = locked
    with opened(browser, port) as page:
        page.get_by_label("Key", exact=True).fill("wrong")
        page.get_by_role("button", name="Connect").click()
        expect(
            page.get_by_role("heading", name="The server does not know this key.")
        ).to_be_visible()
        page.get_by_label("Key", exact=True).fill("opensesame")
        fake.key = "opensesame"
        page.get_by_role("button", name="Connect").click()
        page.wait_for_selector(READY)
        page.reload()
        page.wait_for_selector(READY)  # without asking
        assert page.evaluate("JSON.stringify(localStorage)").find("opensesame") < 0


def test_a_blocked_microphone_is_told_with_the_way_out(page: Page) -> None:
    page.evaluate(NO_MICROPHONE)
    page.get_by_role("button", name="Talk").click()
    fault = page.get_by_role("alert")
    expect(fault).to_contain_text("The microphone is blocked for this page.")
    expect(fault).to_contain_text("site settings")
    page.get_by_role("button", name="Dismiss").click()
    expect(fault).to_be_hidden()
    assert page.locator(".entry").count() == 0


def test_voice_and_preset_are_chosen_and_kept(page: Page, fake: FakeRealtime) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Voice").select_option("Ethan")
    page.get_by_label("Speech").select_option("fast")
    *_, last = fake.wait_for("session.update", 3)
    assert last["session"]["audio"]["output"]["voice"] == "Ethan"
    assert last["session"]["audio"]["output"]["preset"] == "fast"
    page.reload()
    page.wait_for_selector(READY)
    *_, again = fake.wait_for("session.update", 4)
    assert again["session"]["audio"] == last["session"]["audio"]


def test_what_the_server_refuses_is_told(page: Page, fake: FakeRealtime) -> None:
    fake.send(
        {"type": "error", "error": {"code": "response_cancel_not_active", "message": "harmless"}},
        {"type": "error", "error": {"code": "x", "message": "<b>the queue is full</b>"}},
    )
    expect(page.get_by_role("alert")).to_have_text(re.compile(r"<b>the queue is full</b>"))


def test_foreign_words_are_never_markup(page: Page, fake: FakeRealtime) -> None:
    fake.words = ("<img src=x onerror=alert(1)>", "<script>1</script>")
    write(page, "<b>bold</b>")
    page.wait_for_selector(".strip")
    assert page.locator("#transcript :is(img, script, b)").count() == 0
    expect(page.locator(".user .words")).to_have_text("<b>bold</b>")
