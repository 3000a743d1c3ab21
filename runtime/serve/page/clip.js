/** A sound in the transcript: its wave, its length, and a button that plays it. */

import { element, icon } from "./element.js";
import { RATE_HZ, toFloat32 } from "./pcm.js";

const BARS = 36;
let playing = null; // one clip sounds at a time

/** Stops the clip that sounds, if one does. */
export function hushClips() {
  playing?.stop();
}

/**
 * @param {Int16Array} samples at 24 kHz
 * @param {string} whose words for a screen reader, e.g. "what you said"
 * @param {() => AudioContext} context asked for when it is played
 * @returns {HTMLElement}
 */
export function clip(samples, whose, context) {
  const seconds = (samples.length / RATE_HZ).toFixed(1);
  const button = element("button.clip-play", { type: "button", "aria-label": `Play ${whose}` }, icon("play"));
  button.addEventListener("click", () => toggle(button, samples, whose, context()));
  return element("span.clip", {}, button, wave(samples), element("span.clip-length", {}, `${seconds} s`));
}

function toggle(button, samples, whose, context) {
  if (playing?.button === button) {
    playing.stop();
    return;
  }
  hushClips();
  const buffer = context.createBuffer(1, samples.length, RATE_HZ);
  buffer.copyToChannel(toFloat32(samples), 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.onended = () => {
    show(button, "play", `Play ${whose}`);
    if (playing?.button === button) playing = null;
  };
  playing = { button, stop: () => source.stop() };
  show(button, "stop", `Stop ${whose}`);
  source.start();
}

function show(button, name, label) {
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
}

/** @returns {SVGElement} the loudness in bars; it takes the colour of the text */
function wave(samples) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${BARS * 4} 28`);
  svg.setAttribute("class", "wave");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute(
    "d",
    loudness(samples, BARS)
      .map((height, i) => `M${4 * i + 2} ${14 - 12 * height}V${14 + 12 * height}`)
      .join(""),
  );
  svg.append(path);
  return svg;
}

/** @returns {number[]} the loudness of `count` parts in [0.06, 1], the loudest part 1 */
export function loudness(samples, count) {
  const size = Math.max(1, Math.floor(samples.length / count));
  const parts = Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let at = i * size; at < Math.min(samples.length, (i + 1) * size); at += 1) sum += samples[at] ** 2;
    return Math.sqrt(sum / size);
  });
  const loudest = Math.max(...parts, 1);
  return parts.map((part) => Math.max(0.06, part / loudest));
}
