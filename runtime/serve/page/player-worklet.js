/** The player's audio thread: plays blocks of sound without gaps, and counts what was played. */

const REPORT_FRAMES = 2048;
const GATHERED_S = 0.2; // before a sound goes on, for each time that it ran dry
const MOST_GATHERED_S = 1;
const LEAD_S = 0.1; // more before an item begins, after one that ran dry; less after one that did not
const MOST_LEAD_S = 0.5;
const FADE = 0.97; // of each sample, where a sound breaks off
const RISE_FRAMES = 64; // where it goes on

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.blocks = []; // {item, samples}, in order
    this.ended = new Set(); // items of which all has come
    this.item = null; // what is played now
    this.at = 0; // within the first block
    this.played = 0; // frames of the item
    this.reported = 0;
    this.dry = 0; // how often the item ran dry
    this.isGathering = false;
    this.lead = 0; // s that are gathered before an item begins
    this.tail = 0; // the last sample, faded out
    this.risen = RISE_FRAMES;
    this.port.onmessage = ({ data }) => this[data.kind](data);
  }

  push({ item, samples }) {
    this.blocks.push({ item, samples });
  }

  end({ item }) {
    this.ended.add(item);
  }

  /** Drops everything; answers how much of which item was played. */
  clear() {
    this.port.postMessage({ kind: "cleared", item: this.item, played: this.played });
    this.blocks = [];
    this.ended.clear();
    this.item = null;
    this.at = 0;
  }

  process(_inputs, [[output]]) {
    let filled = 0;
    while (filled < output.length && this.#isReady()) filled += this.#copy(output, filled);
    for (let i = filled; i < output.length; i += 1) {
      this.tail *= FADE;
      output[i] = this.tail;
    }
    if (this.played - this.reported >= REPORT_FRAMES) this.#report();
    return true;
  }

  /** Says whether a sample can be played; begins and ends items. */
  #isReady() {
    const block = this.blocks[0];
    if (this.item !== null && block?.item !== this.item) {
      if (!block && !this.ended.has(this.item)) {
        if (!this.isGathering) this.#gather();
        return false;
      }
      this.#finish();
    }
    if (!block) return false;
    if (this.item === null) this.#begin(block.item);
    if (this.isGathering && this.#hasGathered()) {
      this.isGathering = false;
      if (this.played) this.risen = 0;
      else this.port.postMessage({ kind: "began", item: this.item, time: currentTime });
    }
    return !this.isGathering;
  }

  #begin(item) {
    Object.assign(this, { item, at: 0, played: 0, reported: 0, dry: 0, isGathering: true });
  }

  #finish() {
    this.lead = Math.max(0, Math.min(MOST_LEAD_S, this.lead + (this.dry ? LEAD_S : -LEAD_S)));
    this.port.postMessage({ kind: "finished", item: this.item, played: this.played, dry: this.dry });
    this.ended.delete(this.item);
    this.item = null;
  }

  #gather() {
    this.isGathering = true;
    this.dry += 1;
    this.port.postMessage({ kind: "dry", item: this.item, count: this.dry });
  }

  #hasGathered() {
    if (this.ended.has(this.item)) return true;
    const wanted = this.played ? Math.min(MOST_GATHERED_S, GATHERED_S * this.dry) : this.lead;
    const own = this.blocks.filter(({ item }) => item === this.item);
    return own.reduce((sum, { samples }) => sum + samples.length, -this.at) >= wanted * sampleRate;
  }

  #copy(output, filled) {
    const { samples } = this.blocks[0];
    const count = Math.min(output.length - filled, samples.length - this.at);
    output.set(samples.subarray(this.at, this.at + count), filled);
    for (let i = filled; i < filled + count && this.risen < RISE_FRAMES; i += 1) {
      this.risen += 1;
      output[i] *= this.risen / RISE_FRAMES;
    }
    this.at += count;
    this.played += count;
    if (count) this.tail = output[filled + count - 1];
    if (this.at === samples.length) {
      this.blocks.shift();
      this.at = 0;
    }
    return count;
  }

  #report() {
    this.reported = this.played;
    this.port.postMessage({ kind: "played", item: this.item, played: this.played });
  }
}

registerProcessor("omnijet-player", Player);
