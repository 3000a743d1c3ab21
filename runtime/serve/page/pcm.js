/** Samples as they travel: 16-bit little-endian mono at 24 kHz, in base64. */

export const RATE_HZ = 24000;

/** @param {Int16Array} samples @returns {string} */
export function toBase64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  // one call takes a bounded number of arguments
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** @param {string} text @returns {Int16Array} */
export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length - (raw.length % 2));
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Int16Array(bytes.buffer);
}

/** @param {Float32Array} samples in [-1, 1] @returns {Int16Array} */
export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.round(Math.max(-1, Math.min(1, x)) * 32767));
}

/** @param {Int16Array} samples @returns {Float32Array} in [-1, 1) */
export function toFloat32(samples) {
  return Float32Array.from(samples, (x) => x / 32768);
}

/** @param {Int16Array[]} parts @returns {Int16Array} */
export function joined(parts) {
  const whole = new Int16Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {Float32Array} samples @returns {number} the loudness in [0, 1], for a meter */
export function level(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  const decibels = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-9);
  return Math.max(0, Math.min(1, (decibels + 55) / 45));
}
