"""The page's arithmetic, in the browser that runs it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soxr
from playwright.sync_api import Browser, Page

from omnijet.runtime.bundle.contract import Array
from tests.runtime.serve.page.browser import opened
from tests.runtime.serve.page.fake_realtime import FakeRealtime
from tests.runtime.serve.page.serving import serving


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """Returns one page for all tests of this file: modules keep nothing between calls."""
    with serving(FakeRealtime().app()) as port, opened(browser, port) as page:
        yield page


RESAMPLE = """async ([from, to, sizes, samples]) => {
  const { Resampler } = await import("/page/resampler.js");
  const resampler = new Resampler(from, to);
  const parts = [];
  let at = 0;
  for (let i = 0; at < samples.length; i += 1) {
    const size = sizes[i % sizes.length];
    parts.push(...resampler.push(Float32Array.from(samples.slice(at, at + size))));
    at += size;
  }
  parts.push(...resampler.flush());
  return parts;
}"""


def resampled(page: Page, source: Array, rates: tuple[int, int], sizes: list[int]) -> Array:
    return np.array(page.evaluate(RESAMPLE, [*rates, sizes, source.tolist()]), np.float32)


@pytest.mark.parametrize(
    "rates", [(24_000, 48_000), (24_000, 44_100), (48_000, 24_000), (44_100, 24_000)], ids=str
)
def test_sound_is_resampled_as_soxr_does(page: Page, rates: tuple[int, int]) -> None:
    at = np.arange(rates[0] // 10) / rates[0]
    source = sum(0.2 * np.sin(2 * np.pi * hz * at + hz) for hz in (220, 1000, 6000))
    source = (source * np.hanning(at.size)).astype(np.float32)
    made = resampled(page, source, rates, [source.size])
    wanted = soxr.resample(source, *rates, quality="VHQ")
    assert abs(made.size - wanted.size) <= 1
    size = min(made.size, wanted.size)
    assert np.abs(made[:size] - wanted[:size]).max() < 2e-3


def test_what_a_rate_cannot_hold_does_not_fold_back(page: Page) -> None:
    at = np.arange(4800) / 48_000
    source = (0.5 * np.sin(2 * np.pi * 17_000 * at) * np.hanning(at.size)).astype(np.float32)
    made = resampled(page, source, (48_000, 24_000), [4800])
    assert np.sqrt(np.mean(made**2)) < 1e-3 * np.sqrt(np.mean(source**2))


@pytest.mark.parametrize("rates", [(24_000, 44_100), (48_000, 24_000), (24_000, 24_000)], ids=str)
def test_blocks_join_without_a_seam(page: Page, rates: tuple[int, int]) -> None:
    source = np.random.default_rng(1).uniform(-1, 1, 3000).astype(np.float32)
    whole = resampled(page, source, rates, [source.size])
    pieces = resampled(page, source, rates, [1, 7, 480, 3, 128])
    assert whole.size and np.array_equal(whole, pieces)


def test_samples_travel_unchanged(page: Page) -> None:
    samples = [-32768, -1, 0, 1, 258, 32767, *range(-20_000, 20_000)]
    script = """async (samples) => {
      const { fromBase64, toBase64, toFloat32, toInt16 } = await import("/page/pcm.js");
      const text = toBase64(Int16Array.from(samples));
      return [text, [...fromBase64(text)], [...toInt16(toFloat32(Int16Array.of(-32768, 0, 16384)))],
        [...toInt16(Float32Array.of(-2, 2, 0.5))]];
    }"""
    text, back, floats, clipped = page.evaluate(script, samples)
    assert np.frombuffer(base64.b64decode(text), "<i2").tolist() == samples == back
    assert floats == [-32767, 0, 16384]  # toInt16 is symmetric
    assert clipped == [-32767, 32767, 16384]


def test_what_was_said_is_found_by_its_time(page: Page) -> None:
    script = """async () => {
      const { Uplink } = await import("/page/uplink.js");
      const uplink = new Uplink();
      for (let i = 0; i < 5; i += 1) uplink.note(Int16Array.from({ length: 240 }, (_, k) => 240 * i + k), 1000 + 10 * i);
      return [uplink.ms, [...uplink.slice(15, 25)], uplink.slice(45).length, uplink.timeAt(15), uplink.timeAt(0),
        uplink.timeAt(51), uplink.slice(90, 95).length];
    }"""  # noqa: E501
    ms, middle, rest, at, first, beyond, none = page.evaluate(script)
    assert ms == 50 and middle == list(range(360, 600)) and rest == 120
    assert at == 1005 and first == 990 and beyond is None and none == 0


def test_old_sound_is_let_go(page: Page) -> None:
    script = """async () => {
      const { Uplink } = await import("/page/uplink.js");
      const uplink = new Uplink();
      for (let i = 0; i < 200; i += 1) uplink.note(new Int16Array(24000), 1000 * i);
      return [uplink.ms, uplink.slice(0).length / 24000, uplink.slice(150000, 151000).length, uplink.timeAt(5)];
    }"""  # noqa: E501
    ms, seconds, late, gone = page.evaluate(script)
    assert ms == 200_000 and 119 <= seconds <= 122 and late == 24_000 and gone is None


def test_tries_come_less_often_and_begin_anew(page: Page) -> None:
    script = """async () => {
      const { Backoff } = await import("/page/backoff.js");
      const backoff = new Backoff({ random: () => 0.5 });
      const waits = Array.from({ length: 7 }, () => backoff.next());
      backoff.reset();
      const spread = [0, 0.999].map((x) => new Backoff({ random: () => x }).next());
      return [waits, backoff.next(), spread];
    }"""
    waits, again, spread = page.evaluate(script)
    assert waits == [500, 1000, 2000, 4000, 8000, 10_000, 10_000] and again == 500
    assert spread == [375, 625]


@pytest.mark.parametrize(
    ("metadata", "sound", "times"),
    [
        (
            {
                "omnijet_first_text_ms": "60",
                "omnijet_first_code_ms": "70",
                "omnijet_first_pcm_ms": "180",
                "omnijet_pause_ms": "500",  # asked so long after the speech ended
            },
            760.4,
            {"pause": 500, "text": 560, "code": 570, "pcm": 680, "sound": 760},
        ),
        ({"omnijet_first_text_ms": "60"}, None, {"text": 60}),
        (
            {"omnijet_first_text_ms": "60", "omnijet_pause_ms": "0", "waited": "100"},
            200.0,
            {"pause": 100, "text": 160, "sound": 200},
        ),
        (None, 12.0, {"sound": 12}),
        ({"omnijet_first_pcm_ms": "soon"}, None, {}),
    ],
)
def test_marks_of_both_clocks_stand_on_one_axis(
    page: Page, metadata: dict[str, str] | None, sound: float | None, times: dict[str, int]
) -> None:
    script = """async ([metadata, sound]) => {
      const { marks } = await import("/page/latency.js");
      return marks(metadata, sound, Number(metadata?.waited ?? 0));
    }"""
    made: list[dict[str, Any]] = page.evaluate(script, [metadata, sound])
    assert {mark["name"]: mark["ms"] for mark in made} == times


PLAYER = """async () => {
  const messages = (globalThis.messages = []);
  const port = () => ({ postMessage: (message) => globalThis.messages.push(message) });
  Object.assign(globalThis, {
    sampleRate: 1000,
    currentTime: 0,
    AudioWorkletProcessor: class { port = port(); },
    registerProcessor: (name, Processor) => { globalThis.Player = Processor; },
  });
  if (!globalThis.Player) await import("/page/player-worklet.js");
  const player = new Player();
  const tell = (kind, item, count = 0) =>
    player.port.onmessage({ data: { kind, item, samples: new Float32Array(count).fill(0.5) } });
  const played = (blocks) => {
    let sum = 0;
    for (let i = 0; i < blocks; i += 1) {
      const output = new Float32Array(10);
      player.process([], [[output]]);
      sum += output.filter((x) => x === 0.5).length;
    }
    return sum;
  };
  const kinds = () => messages.splice(0).map(({ kind, item, dry, played }) =>
    [kind, item, ...(kind === "finished" ? [dry, played] : kind === "cleared" ? [played] : [])]);
  const steps = STEPS;
  return steps.map((step) => step());
}"""
"""A player whose clock the test moves: 1,000 Hz, blocks of 10 ms."""


def test_a_sound_that_runs_dry_gathers_before_it_goes_on_and_the_next_one_before_it_begins(
    page: Page,
) -> None:
    steps = """[
      () => (tell("push", "a", 100), played(20)),
      () => kinds(),
      () => (tell("push", "a", 100), played(20)),  // less than 200 ms
      () => (tell("push", "a", 120), played(40)),  // the first 64 samples rise
      () => (tell("end", "a"), played(1), kinds()),
      () => (tell("push", "b", 60), played(10)),  // less than 100 ms
      () => (tell("push", "b", 60), tell("end", "b"), played(20)),
      () => kinds(),
      () => (tell("push", "c", 20), played(5)),  // no lead any more
      () => (tell("end", "c"), tell("push", "d", 30), tell("end", "d"), played(9), kinds()),
    ]"""
    made = page.evaluate(PLAYER.replace("STEPS", steps))
    assert made[:4] == [100, [["began", "a"], ["dry", "a"]], 0, 220 - 63]
    assert made[4] == [["dry", "a"], ["finished", "a", 2, 320]]
    assert made[5:7] == [0, 120]
    assert made[7] == [["began", "b"], ["finished", "b", 0, 120]]
    assert made[8] == 20


def test_a_stopped_player_tells_how_much_of_what_it_played(page: Page) -> None:
    steps = """[
      () => (tell("push", "a", 100), tell("end", "a"), tell("push", "b", 100), played(13)),
      () => (tell("clear"), played(5)),
      () => kinds(),
      () => (tell("clear"), tell("push", "e", 40), tell("end", "e"), played(6), kinds()),
    ]"""
    made = page.evaluate(PLAYER.replace("STEPS", steps))
    assert made[0] == 130 and made[1] == 0
    assert made[2] == [
        ["began", "a"],
        ["finished", "a", 0, 100],
        ["began", "b"],
        ["cleared", "b", 30],
    ]
    assert made[3][-2:] == [["began", "e"], ["finished", "e", 0, 40]]
