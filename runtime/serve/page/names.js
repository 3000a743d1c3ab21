/** @returns {string} an identifier of an item that nobody else has */
export function newItemId() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return `msg_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
