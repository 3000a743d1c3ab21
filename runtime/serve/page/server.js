/** The server's own words about itself: `GET v1/models`. */

import { Fault } from "./fault.js";

/**
 * @typedef {{model: string, voices: string[], presets: string[]}} Description
 */

/** The server wants a key, or another one. */
export class KeyWanted extends Fault {}

/**
 * Asks what the server has.
 * @param {string} key of the API; empty for none
 * @returns {Promise<Description>}
 * @throws {KeyWanted | Fault}
 */
export async function describe(key) {
  const answer = await asked(key);
  if (answer.status === 401 || answer.status === 403) {
    throw new KeyWanted(key ? "The server does not know this key." : "The server asks for a key.");
  }
  if (!answer.ok) throw new Fault(`The server is not ready (${answer.status}).`);
  const [model = {}] = (await answer.json()).data ?? [];
  const more = model.omnijet ?? model;
  return { model: model.id ?? "", voices: names(more.voices), presets: names(more.presets) };
}

async function asked(key) {
  try {
    return await fetch(new URL("v1/models", document.baseURI), {
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      cache: "no-store",
    });
  } catch {
    throw new Fault("The server does not answer.");
  }
}

function names(list) {
  return Array.isArray(list) ? list.filter((name) => typeof name === "string") : [];
}
