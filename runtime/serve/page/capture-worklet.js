/** The microphone's audio thread: passes sound on in blocks of 40 ms. */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 25));
    this.filled = 0;
  }

  process([[input]]) {
    if (input) for (let at = 0; at < input.length; ) at += this.#take(input.subarray(at));
    return true;
  }

  #take(input) {
    const count = Math.min(input.length, this.block.length - this.filled);
    this.block.set(input.subarray(0, count), this.filled);
    this.filled += count;
    if (this.filled === this.block.length) {
      const samples = this.block;
      this.port.postMessage({ samples }, [samples.buffer]);
      this.block = new Float32Array(Math.round(sampleRate / 25));
      this.filled = 0;
    }
    return count;
  }
}

registerProcessor("omnijet-capture", Capture);
