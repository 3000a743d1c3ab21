/** The browser's sound: one audio clock for loudspeaker and microphone. */

import { Microphone } from "./microphone.js";
import { Player } from "./player.js";

let opening = null;

/** @returns {boolean} whether the browser lets this page play; not at an address that is not secure */
export function canSound() {
  return window.isSecureContext;
}

/**
 * Opens it once. A browser lets a page sound only after a click or a key: call it from there.
 * @returns {Promise<{context: AudioContext, player: Player, microphone: Microphone}>}
 */
export async function sound() {
  opening ??= open();
  const opened = await opening;
  if (opened.context.state !== "running") await opened.context.resume();
  return opened;
}

async function open() {
  const context = new AudioContext({ latencyHint: "interactive" });
  for (const name of ["player-worklet.js", "capture-worklet.js"]) {
    await context.audioWorklet.addModule(new URL(name, import.meta.url));
  }
  return { context, player: new Player(context), microphone: new Microphone(context) };
}
