/** The connection to `/v1/realtime`, made again whenever it breaks. */

import { Backoff } from "./backoff.js";
import { describe, KeyWanted } from "./server.js";

const SUBPROTOCOL = "realtime";
const KEY_PREFIX = "openai-insecure-api-key."; // a browser cannot send headers with a WebSocket

/**
 * Speaks JSON events with the server.
 *
 * Events: `state` with `detail.state`: `connecting`, `open`, `waiting` (`detail.ms` until the next
 * try, `detail.reason`), `key` (a key is wanted; `detail.reason`); `described` with what the server
 * has; `message` with an event of the server.
 */
export class RealtimeSocket extends EventTarget {
  #socket = null;
  #timer = 0;
  #backoff = new Backoff();
  #attempt = 0;

  /** @param {() => string} key returns the API key, or nothing */
  constructor(key) {
    super();
    this.key = key;
    this.state = "closed";
    window.addEventListener("online", () => this.state === "waiting" && this.connect());
  }

  get isOpen() {
    return this.state === "open";
  }

  /** Connects now, whatever was tried before. */
  async connect() {
    const attempt = (this.#attempt += 1);
    clearTimeout(this.#timer);
    this.#drop();
    this.#tell("connecting");
    try {
      const server = await describe(this.key());
      if (attempt !== this.#attempt) return;
      this.#emit("described", server);
      this.#open(server.model);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (error instanceof KeyWanted) this.#tell("key", { reason: error.message });
      else this.#retry(error.message);
    }
  }

  /** @param {object} event for the server @returns {boolean} whether it could be sent */
  send(event) {
    if (!this.isOpen || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  #open(model) {
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (model) url.searchParams.set("model", model);
    const key = this.key();
    const socket = new WebSocket(url, key ? [SUBPROTOCOL, KEY_PREFIX + key] : [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = ({ reason }) => {
      if (this.#socket === socket) this.#retry(reason || "The connection was lost.");
    };
  }

  #take(data) {
    const event = JSON.parse(data);
    // what is refused closes without this: only a session that began counts as success
    if (event.type === "session.created") {
      this.#backoff.reset();
      this.#tell("open");
    }
    this.#emit("message", event);
  }

  #retry(reason) {
    this.#drop();
    const ms = this.#backoff.next();
    this.#timer = setTimeout(() => this.connect(), ms);
    this.#tell("waiting", { ms, reason });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #tell(state, facts = {}) {
    this.state = state;
    this.#emit("state", { state, ...facts });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
