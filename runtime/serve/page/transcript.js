/** The conversation as it is seen: what was said, shown and written, on both sides. */

import { clip } from "./clip.js";
import { element, icon } from "./element.js";
import { strip } from "./latency.js";
import { joined, toBase64 } from "./pcm.js";

const KEPT_SAMPLES = 24_000 * 600; // ten minutes of sound; older sounds lose their button

/**
 * Entries in order. Each is `{id, kind, node, …}`: `text` and `reply` with `text`, `picture` with
 * `url`, `speech` with `samples`; `reply` also with `samples`, a list; `text` with the `pictures`
 * that belong to its message, whose `isWaiting` and `isPart` say where they stand.
 */
export class Transcript {
  #list;
  #context;

  /** @param {HTMLElement} list where entries go @param {() => AudioContext} context for clips */
  constructor(list, context) {
    this.#list = list;
    this.#context = context;
    this.entries = [];
  }

  /** @param {string} id of an item @returns {object | undefined} */
  find(id) {
    return this.entries.find((entry) => entry.id === id);
  }

  addText(id, text) {
    return this.#add({ id, kind: "text", text }, "You", element("p.words", {}, text));
  }

  /** Shows a picture that can be taken back until `settle`. */
  addPicture(id, url, takeBack) {
    const picture = element("img.picture", { src: url, alt: "The picture that you showed" });
    const attributes = { type: "button", "aria-label": "Take the picture back", onclick: takeBack };
    const button = element("button.take-back", attributes, icon("close"));
    return this.#add({ id, kind: "picture", url, isWaiting: true }, "You", picture, button);
  }

  /** Notes that a picture was sent. */
  settle(entry) {
    entry.isWaiting = false;
    entry.node.querySelector(".take-back")?.remove();
  }

  /** Begins a spoken turn; `hear` fills it. */
  addSpeech(id) {
    const entry = this.#add({ id, kind: "speech", samples: null }, "You", element("p.words.pending", {}, "Speaking…"));
    entry.node.classList.add("spoken");
    return entry;
  }

  /** Shows what was said aloud: its sound, since nobody wrote down its words. */
  hear(entry, samples, words = "Spoken") {
    entry.samples = samples;
    const title = element("span.spoken-word", {}, words);
    entry.body.replaceChildren(title, clip(samples, "what you said", this.#context));
    this.#forgetOldSounds();
    this.#follow();
  }

  /** Shows the words of a spoken turn, where a server writes them down. */
  caption(entry, words) {
    entry.caption ??= entry.body.appendChild(element("p.words"));
    entry.caption.textContent = words;
  }

  addReply(id) {
    const words = element("p.words.pending", {}, "…");
    return this.#add({ id, kind: "reply", text: "", samples: [], words }, "Omnijet", words);
  }

  /** Goes on writing a reply. */
  write(entry, words) {
    const wasAtEnd = this.#isAtEnd();
    entry.words.classList.remove("pending");
    entry.text += words;
    entry.words.textContent = entry.text;
    if (wasAtEnd) this.#follow();
  }

  /** Marks what was never heard of a reply: the model has forgotten it. */
  cut(entry, heard) {
    entry.whole ??= entry.text;
    const kept = heard.trimEnd();
    const lost = entry.whole.slice(kept.length);
    if (!entry.whole.startsWith(kept) || !lost.trim()) return;
    entry.text = kept;
    entry.words.replaceChildren(kept, element("del.unheard", { title: "Not heard, and forgotten" }, lost));
  }

  /** Adds a remark below an entry. */
  remark(entry, words) {
    entry.node.append(element("p.remark", {}, words));
    this.#follow();
  }

  /** Ends a reply: its sound can be played again, its latency is shown. */
  finish(entry, marks, from) {
    if (!entry.text) entry.words.remove();
    const wasAtEnd = this.#isAtEnd();
    const foot = element("div.foot");
    if (entry.samples.length) {
      entry.samples = [joined(entry.samples)];
      foot.append(clip(entry.samples[0], "this reply", this.#context));
    }
    if (marks.length) foot.append(strip(marks, from));
    entry.node.append(foot);
    this.#forgetOldSounds();
    if (wasAtEnd) this.#follow();
  }

  /** @param {string} words @param {HTMLElement[]} actions buttons @returns {HTMLElement} */
  notice(words, ...actions) {
    const node = element("div.notice", { role: "note" }, element("p", {}, words), ...actions);
    this.#list.append(node);
    this.#follow();
    return node;
  }

  remove(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    entry.node.remove();
  }

  clear() {
    this.entries = [];
    this.#list.replaceChildren();
  }

  /** @returns {object | null} an entry as an item of the conversation; null if nothing is left */
  item({ id, kind, text, url, samples, pictures = [] }) {
    const shown = pictures.map((picture) => ({ type: "input_image", image_url: picture.url }));
    const user = (content) => ({ id, type: "message", role: "user", content: [...shown, content] });
    if (kind === "text") return user({ type: "input_text", text });
    if (kind === "picture") return user({ type: "input_image", image_url: url });
    if (kind === "speech") return samples && user({ type: "input_audio", audio: toBase64(samples) });
    if (!text) return null;
    return { id, type: "message", role: "assistant", content: [{ type: "output_text", text }] };
  }

  #add(entry, who, ...content) {
    const body = element("div.body", {}, ...content);
    const side = entry.kind === "reply" ? "reply" : "user";
    const node = element(`article.entry.${side}`, { "aria-label": who }, body);
    Object.assign(entry, { node, body });
    this.entries.push(entry);
    this.#list.append(node);
    this.#follow();
    return entry;
  }

  #forgetOldSounds() {
    let left = KEPT_SAMPLES;
    for (const entry of [...this.entries].reverse()) {
      const parts = entry.kind === "reply" ? entry.samples : entry.samples ? [entry.samples] : [];
      left -= parts.reduce((sum, part) => sum + part.length, 0);
      if (left >= 0) continue;
      if (parts.length) entry.samples = entry.kind === "reply" ? [] : null;
      entry.node.querySelector(".clip-play")?.remove();
    }
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#list.parentElement;
    return scrollHeight - scrollTop - clientHeight < 80;
  }

  #follow() {
    this.#list.parentElement.scrollTop = this.#list.parentElement.scrollHeight;
  }
}
