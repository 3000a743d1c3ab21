"""What a page plays, recorded at its loudspeaker."""

from __future__ import annotations

import base64

import numpy as np
from playwright.sync_api import Page

from omnijet.runtime.bundle.contract import Array

START = """async () => {
  const { sound } = await import("/page/sound.js");
  const { context, player } = await sound();
  const node = new AudioWorkletNode(context, "omnijet-capture", { numberOfOutputs: 0 });
  window.recorded = [];
  node.port.onmessage = ({ data }) => window.recorded.push(data.samples);
  player.node.connect(node);
  return context.sampleRate;
}"""
TAKE = """async () => {
  const { toBase64 } = await import("/page/pcm.js");
  const whole = new Float32Array(window.recorded.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of window.recorded) { whole.set(part, at); at += part.length; }
  return toBase64(new Int16Array(whole.buffer));
}"""


class Recording:
    """Records from now on; the page's sound is opened if it was not."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.rate_hz = int(page.evaluate(START))

    def samples(self) -> Array:
        """Returns what was played so far: f32[n] in [-1, 1]."""
        return np.frombuffer(base64.b64decode(self._page.evaluate(TAKE)), np.float32)

    def wait_for(self, seconds: float) -> None:
        """Waits until so much has sounded."""
        while self.sounding().size < seconds * self.rate_hz:
            self._page.wait_for_timeout(50)

    def words(self) -> Array:
        """Returns it without silence: a busy machine makes sound slower than it is played."""
        samples = self.samples()
        block = self.rate_hz // 100
        blocks = samples[: samples.size // block * block].reshape(-1, block)
        return blocks[np.abs(blocks).max(1) > 1e-4].ravel()

    def sounding(self) -> Array:
        """Returns it from the first to the last sample that is no silence."""
        samples = self.samples()
        loud = np.flatnonzero(np.abs(samples) > 1e-3)
        return samples[loud[0] : loud[-1] + 1] if loud.size else samples[:0]
