/** The model's side of the talk: its words are written, its sound is played, and cut. */

import { marks } from "./latency.js";
import { fromBase64, RATE_HZ } from "./pcm.js";
import { announce } from "./status.js";

/** Takes the server's events of replies. Event `change`: `isActive` or `isSounding` may differ. */
export class Replies extends EventTarget {
  #socket;
  #transcript;
  #player = null;
  #turns = new Map(); // of a reply's item: {entry, asked, sound, metadata, isDone, isShown}
  #active = null; // id of the response that is being made
  #silenced = new Set(); // items that were stopped
  #asked = null;

  constructor(socket, transcript) {
    super();
    this.#socket = socket;
    this.#transcript = transcript;
  }

  /** Whether a reply is being made. */
  get isActive() {
    return this.#active !== null;
  }

  /** Whether a reply is heard. */
  get isSounding() {
    return this.#player?.isBusy === true;
  }

  /** @param {Player} player of the sound that the user's first click opened */
  useSound(player) {
    if (this.#player === player) return;
    this.#player = player;
    player.addEventListener("began", ({ detail }) => this.#sounded(detail));
    player.addEventListener("finished", ({ detail }) => this.#played(detail));
  }

  /**
   * Notes when the next reply was asked for.
   * @param {number} at performance.now() at the end of the question
   * @param {string} from in words
   * @param {number} waited ms from then to the asking, where the page waited
   */
  asked(at, from, waited = 0) {
    this.#asked = { at, from, waited };
  }

  /**
   * Falls silent, and tells the server what was heard.
   * @param {boolean} cancels whether the server must be told to stop; it knows by itself if it
   *   heard the user
   */
  async stop(cancels = true) {
    const [latest] = [...this.#turns.values()].slice(-1);
    const isHeard = this.isSounding;
    if (latest && !latest.isDone) this.#silenced.add(latest.entry.id);
    if (cancels && this.isActive) this.#socket.send({ type: "response.cancel" });
    if (!isHeard) return;
    const cut = await this.#player.stop();
    const item = cut?.item ?? latest?.entry.id;
    const turn = this.#turns.get(item);
    if (!turn) return;
    const ms = Math.min(cut?.ms ?? 0, sentMs(turn.entry));
    this.#silenced.add(item);
    this.#socket.send({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms: ms });
    this.#transcript.remark(turn.entry, `Interrupted after ${(ms / 1000).toFixed(1)} s.`);
    this.#show(turn);
    this.#changed();
  }

  /** Begins anew, with a new connection. */
  async reset() {
    for (const turn of this.#turns.values()) {
      if (!turn.isDone) this.#transcript.remark(turn.entry, "Cut off: the connection was lost.");
    }
    this.#turns.clear();
    this.#silenced.clear();
    this.#active = this.#asked = null;
    await this.#player?.stop();
    this.#changed();
  }

  /** Takes an event of the server. */
  heed(event) {
    switch (event.type) {
      case "response.created":
        this.#active = event.response.id;
        break;
      case "response.output_item.added":
        if (event.item.type === "message") this.#begin(event.item.id);
        break;
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        this.#write(event.item_id, event.delta);
        return;
      case "response.output_audio.delta":
        this.#sound(event.item_id, event.delta);
        break;
      case "response.output_audio.done":
        this.#player?.end(event.item_id);
        break;
      case "response.done":
        this.#done(event.response);
        break;
      case "conversation.item.truncated":
        this.#socket.send({ type: "conversation.item.retrieve", item_id: event.item_id });
        return;
      case "conversation.item.retrieved":
        this.#cut(event.item);
        return;
      default:
        return;
    }
    this.#changed();
  }

  #begin(id) {
    const entry = this.#transcript.addReply(id);
    this.#turns.set(id, { entry, asked: this.#asked, sound: null, metadata: {}, isDone: false, isShown: false });
    this.#asked = null;
  }

  #write(id, words) {
    const turn = this.#turns.get(id);
    if (turn && !this.#silenced.has(id)) this.#transcript.write(turn.entry, words);
  }

  #sound(id, audio) {
    const turn = this.#turns.get(id);
    if (!turn || this.#silenced.has(id)) return;
    const samples = fromBase64(audio);
    turn.entry.samples.push(samples);
    this.#player?.push(id, samples);
  }

  #done(response) {
    this.#active = null;
    for (const { id } of response.output ?? []) {
      const turn = this.#turns.get(id);
      if (!turn) continue;
      this.#player?.end(id);
      turn.isDone = true;
      turn.metadata = response.metadata ?? {};
      if (response.status === "failed") this.#transcript.remark(turn.entry, failure(response));
      if (!this.#player || turn.sound !== null || !turn.entry.samples.length) this.#show(turn);
    }
    if (response.status === "failed" && !response.output?.length) this.#transcript.notice(failure(response));
    this.#closeOpenTurns();
  }

  /** Ends turns that the server did not name in `response.done`: nothing was kept of them. */
  #closeOpenTurns() {
    for (const turn of this.#turns.values()) {
      if (turn.isDone) continue;
      turn.isDone = true;
      this.#show(turn);
    }
  }

  #sounded({ item, at }) {
    const turn = this.#turns.get(item);
    if (!turn) return;
    turn.sound = turn.asked ? at - turn.asked.at : null;
    if (turn.isDone) this.#show(turn);
    this.#changed();
  }

  #played({ item, dry }) {
    const turn = this.#turns.get(item);
    if (turn && dry) this.#transcript.remark(turn.entry, `The sound paused ${times(dry)}, because it came late.`);
    this.#changed();
  }

  #show(turn) {
    if (turn.isShown || !turn.isDone) return;
    turn.isShown = true;
    const all = turn.asked ? marks(turn.metadata, turn.sound, turn.asked.waited) : [];
    this.#transcript.finish(turn.entry, all, turn.asked?.from ?? "");
    if (!this.#player || !turn.entry.samples.length) announce(turn.entry.text);
  }

  #cut(item) {
    const turn = this.#turns.get(item.id);
    const heard = (item.content ?? []).map((part) => part.transcript ?? part.text ?? "").join("");
    if (turn) this.#transcript.cut(turn.entry, heard);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function sentMs({ samples }) {
  return Math.floor(samples.reduce((sum, part) => sum + part.length, 0) / (RATE_HZ / 1000));
}

function times(count) {
  return count === 1 ? "once" : `${count} times`;
}

function failure({ status_details: details }) {
  return details?.error?.message ?? "The reply failed.";
}
