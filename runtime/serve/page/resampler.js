/** A change of the sampling rate of a sound that goes on. */

const HALF_WIDTH = 16; // zero crossings of the kernel at each side
const BETA = 8; // Kaiser: side lobes at -80 dB
const MOST_PHASES = 512;

/** Resamples mono sound block by block; the blocks join without a seam. */
export class Resampler {
  /** @param {number} from in Hz @param {number} to in Hz */
  constructor(from, to) {
    const shared = divisor(Math.round(from), Math.round(to));
    this.from = Math.round(from) / shared;
    this.to = Math.round(to) / shared;
    this.phases = Math.min(this.to, MOST_PHASES);
    const band = Math.min(1, this.to / this.from);
    this.half = Math.ceil(HALF_WIDTH / band);
    this.kernels = this.from === this.to ? [] : kernels(this.phases, this.half, band);
    this.reset();
  }

  /** Forgets what came so far. */
  reset() {
    this.kept = new Float32Array(this.half); // silence before the beginning
    this.first = -this.half; // which input sample `kept` begins with
    this.made = 0; // output samples so far
  }

  /** @param {Float32Array} block @returns {Float32Array} what can be told so far */
  push(block) {
    if (this.from === this.to) return block.slice();
    const input = new Float32Array(this.kept.length + block.length);
    input.set(this.kept);
    input.set(block, this.kept.length);
    const end = this.first + input.length - this.half; // beyond the last centre that has all taps
    const count = Math.max(0, Math.floor(((end - 1) * this.to) / this.from) + 1 - this.made);
    const output = new Float32Array(count);
    for (let i = 0; i < count; i += 1) output[i] = this.#sample(input, this.made + i);
    this.made += count;
    this.#keep(input);
    return output;
  }

  /** @returns {Float32Array} the rest; the next sound begins anew */
  flush() {
    const rest = this.from === this.to ? new Float32Array(0) : this.push(new Float32Array(this.half));
    this.reset();
    return rest;
  }

  #sample(input, index) {
    const step = (index * this.from) % this.to;
    let centre = (index * this.from - step) / this.to - this.first;
    let phase = Math.round((step / this.to) * this.phases);
    if (phase === this.phases) {
      phase = 0;
      centre += 1;
    }
    const kernel = this.kernels[phase];
    const start = centre - this.half + 1;
    let sum = 0;
    for (let tap = 0; tap < kernel.length; tap += 1) sum += kernel[tap] * (input[start + tap] ?? 0);
    return sum;
  }

  #keep(input) {
    const next = Math.floor((this.made * this.from) / this.to) - this.half + 1;
    const drop = Math.max(0, Math.min(input.length, next - this.first));
    this.kept = input.slice(drop);
    this.first += drop;
  }
}

/** Returns for each phase the taps of input samples centre - half + 1 … centre + half. */
function kernels(phases, half, band) {
  return Array.from({ length: phases }, (_, phase) => {
    const taps = Float32Array.from({ length: 2 * half }, (_unused, tap) => {
      const distance = tap - half + 1 - phase / phases;
      return band * sinc(0.95 * band * distance) * kaiser(distance / half);
    });
    const sum = taps.reduce((total, tap) => total + tap, 0);
    return taps.map((tap) => tap / sum); // a constant stays what it is
  });
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-9 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}
