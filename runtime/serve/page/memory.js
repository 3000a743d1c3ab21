/** What the server remembers: nothing, after it or the connection began anew. */

import { element } from "./element.js";

/** Offers to tell the conversation again. */
export class Memory {
  #socket;
  #transcript;
  #notice = null;

  constructor(socket, transcript) {
    this.#socket = socket;
    this.#transcript = transcript;
  }

  /** Says that the server knows nothing of what the page shows, if it shows something. */
  offer() {
    this.#notice?.remove();
    if (!this.#transcript.entries.length) return;
    const tell = element("button", { type: "button", onclick: () => this.#tell() }, "Tell it again");
    this.#notice = this.#transcript.notice("Connected again. The server remembers nothing of the above.", tell);
  }

  #tell() {
    for (const entry of this.#transcript.entries) {
      if (entry.isWaiting || entry.isPart) continue;
      const item = this.#transcript.item(entry);
      if (item) this.#socket.send({ type: "conversation.item.create", item });
    }
    this.#notice.replaceChildren(element("p", {}, "Connected again. The server was told all of the above."));
    this.#notice = null;
  }
}
