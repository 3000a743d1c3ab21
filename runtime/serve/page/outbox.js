/** What the user writes or shows, as items of the conversation. */

import { newItemId } from "./names.js";
import { shrunk } from "./picture.js";
import { readSound } from "./sound_file.js";

/** Sends what is not spoken, and shows it. Pictures wait for the question that is about them. */
export class Outbox {
  #socket;
  #transcript;
  #shown = []; // entries of pictures that wait

  constructor(socket, transcript) {
    this.#socket = socket;
    this.#transcript = transcript;
  }

  /** @param {string} text a message that is to be answered, together with the pictures that wait */
  text(text) {
    const entry = this.#transcript.addText(newItemId(), text);
    entry.pictures = this.#take();
    for (const picture of entry.pictures) picture.isPart = true;
    this.#send(this.#transcript.item(entry));
    this.#socket.send({ type: "response.create" });
  }

  /** @param {string} url of a picture, as data: the next question is about it */
  picture(url) {
    const entry = this.#transcript.addPicture(newItemId(), url, () => {
      this.#shown = this.#shown.filter((other) => other !== entry);
      this.#transcript.remove(entry);
    });
    this.#shown.push(entry);
  }

  /** @param {File} file of a picture @throws {Fault} it is none */
  async pictureFile(file) {
    this.picture(await shrunk(file));
  }

  /** Sends the pictures that wait: a question about them is being spoken. */
  flush() {
    for (const entry of this.#take()) this.#send(this.#transcript.item(entry));
  }

  /** @param {File} file of a sound that is to be answered @throws {Fault} it is none */
  async soundFile(file) {
    const samples = await readSound(file);
    this.flush();
    const entry = this.#transcript.addSpeech(newItemId());
    this.#transcript.hear(entry, samples, file.name);
    this.#send(this.#transcript.item(entry));
    this.#socket.send({ type: "response.create" });
  }

  /** Forgets the pictures that wait. */
  clear() {
    this.#shown = [];
  }

  #take() {
    const taken = this.#shown;
    this.#shown = [];
    for (const entry of taken) this.#transcript.settle(entry);
    return taken;
  }

  #send(item) {
    this.#socket.send({ type: "conversation.item.create", item });
  }
}
