/** The loudspeaker: plays what the model says, and knows what was heard of it. */

import { RATE_HZ, toFloat32 } from "./pcm.js";
import { Resampler } from "./resampler.js";

/**
 * Plays items one after another.
 *
 * Events, each with `detail.item`: `began` (`at`, when the sound left the loudspeaker, as
 * performance.now()), `played` (`ms`), `dry` (the sound was late), `finished` (`dry`, how often it
 * was late).
 */
export class Player extends EventTarget {
  #context;
  #resampler;
  #item = null; // of the last block
  #cleared = []; // who waits for an answer of the worklet
  #waiting = 0; // items that were begun and are not finished

  /** @param {AudioContext} context whose player worklet is loaded */
  constructor(context) {
    super();
    this.#context = context;
    this.#resampler = new Resampler(RATE_HZ, context.sampleRate);
    this.node = new AudioWorkletNode(context, "omnijet-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.node.port.onmessage = ({ data }) => this.#heed(data);
    this.node.connect(context.destination);
  }

  /** @returns {boolean} whether something sounds or waits to */
  get isBusy() {
    return this.#waiting > 0;
  }

  /** @param {string} item @param {Int16Array} samples at 24 kHz */
  push(item, samples) {
    if (this.#item !== item) {
      this.#closeItem();
      this.#item = item;
      this.#waiting += 1;
    }
    this.#post(item, this.#resampler.push(toFloat32(samples)));
  }

  /** Says that all of an item has come. */
  end(item) {
    if (this.#item === item) this.#closeItem();
  }

  /**
   * Falls silent at once.
   * @returns {Promise<{item: string, ms: number} | null>} what was playing and how much was heard
   */
  stop() {
    if (!this.isBusy) return Promise.resolve(null);
    this.#item = null;
    this.#waiting = 0;
    this.#resampler.reset();
    this.node.port.postMessage({ kind: "clear" });
    return new Promise((resolve) => this.#cleared.push(resolve));
  }

  #closeItem() {
    if (this.#item === null) return;
    this.#post(this.#item, this.#resampler.flush());
    this.node.port.postMessage({ kind: "end", item: this.#item });
    this.#item = null;
  }

  #post(item, samples) {
    this.node.port.postMessage({ kind: "push", item, samples }, [samples.buffer]);
  }

  #heed({ kind, item, ...facts }) {
    if (kind === "cleared") {
      this.#cleared.shift()?.(item === null ? null : { item, ms: this.#heard(facts.played) });
      return;
    }
    const detail = { item, ...facts };
    if (kind === "began") detail.at = this.#wallTime(facts.time);
    if (kind === "played") detail.ms = this.#heard(facts.played);
    if (kind === "finished") this.#waiting = Math.max(0, this.#waiting - 1);
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** Returns the milliseconds of `frames` that have left the loudspeaker. */
  #heard(frames) {
    const onTheWay = this.#context.outputLatency || this.#context.baseLatency || 0;
    return Math.max(0, Math.floor(1000 * (frames / this.#context.sampleRate - onTheWay)));
  }

  /** Returns when a moment of the audio clock is heard, as performance.now(). */
  #wallTime(time) {
    const { contextTime, performanceTime } = this.#context.getOutputTimestamp?.() ?? {};
    if (performanceTime) return performanceTime + 1000 * (time - contextTime);
    return performance.now() + 1000 * (time - this.#context.currentTime);
  }
}
