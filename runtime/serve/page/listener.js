/** The user's side of the talk: the microphone's sound goes into the server's input buffer. */

import { toBase64 } from "./pcm.js";
import { Uplink } from "./uplink.js";

const TAIL_MS = 100; // after the button is let go: what the microphone has not delivered yet
const REST_MS = 15_000; // the microphone stays open after a turn: opening it costs the first word
const SHORTEST_MS = 100; // that a server takes as speech
const LEAST_MS = 250; // of a spoken turn; less was a slip of the finger

/**
 * Hears the user, hands free or while a button is held.
 *
 * Events: `asked` with `detail.at` (performance.now() at the end of the speech) and `detail.waited`
 * (ms from then to the asking, where this page waited), `began` (the user
 * speaks), `level` with `detail` in [0, 1], `change`.
 */
export class Listener extends EventTarget {
  #socket;
  #transcript;
  #microphone = null;
  #uplink = new Uplink();
  #entry = null; // of what is being said
  #start = 0; // where it begins, in ms of the uplink
  #waiting = []; // entries whose items the server has not named yet
  #isHeld = false;
  #rest = 0; // timer

  constructor(socket, transcript) {
    super();
    this.#socket = socket;
    this.#transcript = transcript;
    this.mode = "hold";
  }

  /** Whether the microphone's sound goes to the server. */
  get isListening() {
    return this.#microphone?.isOpen === true && (this.mode === "free" || this.#isHeld);
  }

  /** Whether the user speaks, as far as is known. */
  get isHearing() {
    return this.#entry !== null;
  }

  /** Listens until `close`: the server finds where speech begins and ends. @throws {Fault} */
  async listen(microphone, device) {
    await this.#open(microphone, device);
    this.#changed();
  }

  /** Begins a turn that lasts until `release`. @throws {Fault} */
  async hold(microphone, device) {
    this.#isHeld = true;
    await this.#open(microphone, device);
    if (!this.#isHeld) return; // let go while the browser asked
    this.#socket.send({ type: "input_audio_buffer.clear" });
    this.#start = this.#uplink.ms;
    this.#entry = this.#transcript.addSpeech(null);
    this.dispatchEvent(new Event("began"));
    this.#changed();
  }

  /** Ends the turn and asks for an answer. */
  async release() {
    const at = performance.now();
    const entry = this.#entry;
    if (!entry) {
      this.#isHeld = false;
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, TAIL_MS));
    if (this.#entry !== entry) return; // the connection broke meanwhile
    this.#isHeld = false;
    this.#entry = null;
    this.#rest = setTimeout(() => this.#microphone.close(), REST_MS);
    if (this.#uplink.ms - this.#start < LEAST_MS + TAIL_MS) {
      this.#socket.send({ type: "input_audio_buffer.clear" });
      this.#transcript.remove(entry);
    } else {
      this.#transcript.hear(entry, this.#uplink.slice(this.#start));
      this.#waiting.push(entry);
      this.#socket.send({ type: "input_audio_buffer.commit" });
      const waited = performance.now() - at;
      this.dispatchEvent(new CustomEvent("asked", { detail: { at, waited } }));
      this.#socket.send({ type: "response.create" });
    }
    this.#changed();
  }

  /** Stops listening. What was said and not sent is dropped. */
  close() {
    clearTimeout(this.#rest);
    this.#microphone?.close();
    this.#isHeld = false;
    if (this.#entry) this.#transcript.remove(this.#entry);
    this.#entry = null;
    this.#socket.send({ type: "input_audio_buffer.clear" });
    this.#changed();
  }

  /** Begins anew, with a new connection. */
  reset() {
    if (this.#entry) this.#transcript.remove(this.#entry);
    if (this.mode === "hold") this.#microphone?.close();
    this.#isHeld = false;
    this.#entry = null;
    this.#waiting = [];
    this.#uplink.reset();
    this.#changed();
  }

  /** Takes an event of the server. */
  heed(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#entry = this.#transcript.addSpeech(event.item_id);
        this.#start = event.audio_start_ms;
        this.dispatchEvent(new Event("began"));
        break;
      case "input_audio_buffer.speech_stopped":
        this.#stopped(event);
        break;
      case "input_audio_buffer.committed":
        this.#committed(event);
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.#caption(event);
        break;
      default:
        return;
    }
    this.#changed();
  }

  #stopped({ audio_end_ms: end }) {
    if (!this.#entry) return;
    const entry = this.#entry;
    this.#entry = null;
    if (end - this.#start < SHORTEST_MS) {
      this.#transcript.remove(entry);
      return;
    }
    this.#transcript.hear(entry, this.#uplink.slice(this.#start, end));
    const at = this.#uplink.timeAt(end) ?? performance.now();
    this.dispatchEvent(new CustomEvent("asked", { detail: { at } }));
  }

  #committed({ item_id: id }) {
    if (this.#transcript.find(id)) return;
    const entry = this.#waiting.shift();
    if (entry) entry.id = id;
  }

  #caption({ item_id: id, transcript }) {
    const entry = this.#transcript.find(id);
    if (entry && transcript) this.#transcript.caption(entry, transcript);
  }

  async #open(microphone, device) {
    clearTimeout(this.#rest);
    if (this.#microphone !== microphone) {
      this.#microphone = microphone;
      microphone.addEventListener("block", ({ detail }) => this.#pass(detail));
      microphone.addEventListener("lost", () => this.close());
    }
    try {
      await microphone.open(device);
    } catch (error) {
      this.#isHeld = false;
      throw error;
    }
  }

  #pass({ samples, level }) {
    if (!this.isListening || !samples.length) return;
    if (this.#socket.send({ type: "input_audio_buffer.append", audio: toBase64(samples) })) {
      this.#uplink.note(samples);
    }
    this.dispatchEvent(new CustomEvent("level", { detail: level }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
