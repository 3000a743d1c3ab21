/** Asks for the server's key. */

import { found } from "./element.js";

/**
 * @param {string} reason why it is asked for
 * @returns {Promise<string>} the key; empty if the user went away
 */
export function askForKey(reason) {
  const dialog = found("key");
  const field = found("key-field");
  found("key-title").textContent = reason;
  field.value = "";
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "use" ? field.value.trim() : "");
  });
}
