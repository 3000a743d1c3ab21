/** The latency of one turn: when its first text, code and sound came, counted from one moment. */

import { element } from "./element.js";

const MARKS = [
  ["pause", "turn’s end"],
  ["text", "first text"],
  ["code", "first code"],
  ["pcm", "first PCM"],
  ["sound", "heard here"],
];

/**
 * Brings the server's and the browser's clocks onto one axis.
 *
 * @param {Record<string, string>} metadata of `response.done`: `omnijet_…_ms`
 * @param {number | null} sound from the end of the question to the first sound, in ms
 * @param {number} waited from the end of the question to the asking, in ms, where the page waited
 * @returns {{name: string, label: string, ms: number}[]} in the order of MARKS
 */
export function marks(metadata, sound, waited = 0) {
  const of = (name) => {
    const value = Number.parseFloat(metadata?.[`omnijet_${name}_ms`]);
    return Number.isFinite(value) ? value : null;
  };
  // The server counts from the asking. If it found out by itself that the user had ended, it had
  // listened to a pause by then.
  const pause = of("pause") || waited || null;
  const after = (name) => (of(name) === null ? null : of(name) + (pause ?? 0));
  const times = { pause, text: after("first_text"), code: after("first_code"), pcm: after("first_pcm"), sound };
  return MARKS.flatMap(([name, label]) => {
    const ms = times[name];
    return ms === null ? [] : [{ name, label, ms: Math.max(0, Math.round(ms)) }];
  });
}

/**
 * @param {{name: string, label: string, ms: number}[]} all of `marks`
 * @param {string} from what it counts from, e.g. "end of speech"
 * @returns {HTMLElement}
 */
export function strip(all, from) {
  const most = Math.max(1, ...all.map(({ ms }) => ms));
  const line = element("span.strip-line", { "aria-hidden": "true" });
  const terms = element("dl", {});
  for (const { name, label, ms } of all) {
    const dot = element(`span.strip-dot.mark-${name}`);
    dot.style.insetInlineStart = `${(100 * ms) / most}%`;
    line.append(dot);
    terms.append(element(`div.mark-${name}`, {}, element("dt", {}, label), element("dd", {}, `${ms} ms`)));
  }
  const caption = `Latency from ${from}`;
  return element("div.strip", { role: "group", "aria-label": caption, title: caption }, line, terms);
}
