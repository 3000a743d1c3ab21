/** How long to wait before another try: longer each time, and never the same for all clients. */
export class Backoff {
  #tries = 0;

  /** @param {{first?: number, most?: number, random?: () => number}} options in milliseconds */
  constructor({ first = 500, most = 10_000, random = Math.random } = {}) {
    Object.assign(this, { first, most, random });
  }

  /** @returns {number} milliseconds until the next try */
  next() {
    const whole = Math.min(this.most, this.first * 2 ** this.#tries);
    this.#tries += 1;
    return Math.round(whole * (0.75 + 0.5 * this.random()));
  }

  /** Begins anew: it worked. */
  reset() {
    this.#tries = 0;
  }
}
