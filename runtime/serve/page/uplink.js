/** What was said into the server's input buffer: when, and the last minutes of it. */

import { joined, RATE_HZ } from "./pcm.js";

const KEPT_MS = 120_000;
const PER_MS = RATE_HZ / 1000;

/** Remembers the sound that was sent since the connection began. */
export class Uplink {
  #blocks = []; // {start, samples, at}: start in samples, at: performance.now() at its end
  #sent = 0; // samples

  /** Milliseconds that were sent so far. */
  get ms() {
    return this.#sent / PER_MS;
  }

  /** @param {Int16Array} samples @param {number} at when its last sample was spoken */
  note(samples, at = performance.now()) {
    this.#blocks.push({ start: this.#sent, samples, at });
    this.#sent += samples.length;
    while (this.#sent - this.#blocks[0].start > (KEPT_MS + 1000) * PER_MS) this.#blocks.shift();
  }

  /** Begins anew, with a new connection. */
  reset() {
    this.#blocks = [];
    this.#sent = 0;
  }

  /** @returns {Int16Array} what was sent from `from` to `to`, in ms of the sound */
  slice(from, to = this.ms) {
    const [begin, end] = [Math.round(from * PER_MS), Math.round(to * PER_MS)];
    const parts = this.#blocks.map(({ start, samples }) =>
      samples.subarray(Math.max(0, begin - start), Math.max(0, end - start)),
    );
    return joined(parts.filter((part) => part.length));
  }

  /** @returns {number | null} when the sound at `ms` was spoken, as performance.now() */
  timeAt(ms) {
    const sample = ms * PER_MS;
    const block = this.#blocks.find(({ start, samples }) => sample <= start + samples.length);
    if (!block || sample < block.start) return null;
    return block.at - (block.start + block.samples.length - sample) / PER_MS;
  }
}
