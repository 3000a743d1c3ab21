/** What the page tells: where the talk stands, and what went wrong. */

import { found } from "./element.js";

const WORDS = {
  connecting: "Connecting…",
  ready: "Ready",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking",
  speaking: "Answering",
  key: "A key is needed",
};

/** @param {string} phase a key of WORDS, or `waiting` @param {string} words in place of the usual */
export function showPhase(phase, words = WORDS[phase]) {
  document.body.dataset.phase = phase;
  found("retry").hidden = phase !== "waiting";
  const status = found("status-words");
  if (status.textContent !== words) status.textContent = words;
}

/** @param {{message: string, fix?: string}} fault */
export function showFault({ message, fix = "" }) {
  found("fault-words").textContent = message;
  found("fault-fix").textContent = fix;
  found("fault").hidden = false;
}

export function hideFault() {
  found("fault").hidden = true;
}

/** Says something to a screen reader only. */
export function announce(words) {
  found("announcement").textContent = words;
}
