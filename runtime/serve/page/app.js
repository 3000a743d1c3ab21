/** The page as a whole: joins what the user does, what the server says, and what both see. */

import { hushClips } from "./clip.js";
import { Composer } from "./composer.js";
import { Fault } from "./fault.js";
import { found } from "./element.js";
import { askForKey } from "./key_dialog.js";
import { Listener } from "./listener.js";
import { requireSecure } from "./microphone.js";
import { Memory } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Preferences } from "./preferences.js";
import { Replies } from "./replies.js";
import { sessionUpdate } from "./session.js";
import { Settings } from "./settings.js";
import { RealtimeSocket } from "./socket.js";
import { canSound, sound } from "./sound.js";
import { hideFault, showFault, showPhase } from "./status.js";
import { TalkButton } from "./talk_button.js";
import { Transcript } from "./transcript.js";
import { Viewfinder } from "./viewfinder.js";

// what the server refuses because it happened already by itself
const HARMLESS = new Set(["response_cancel_not_active"]);

export class App {
  preferences = new Preferences();
  socket = new RealtimeSocket(() => this.preferences.key);
  transcript = new Transcript(found("transcript"), () => this.sound.context);
  listener = new Listener(this.socket, this.transcript);
  replies = new Replies(this.socket, this.transcript);
  memory = new Memory(this.socket, this.transcript);
  outbox = new Outbox(this.socket, this.transcript);
  viewfinder = new Viewfinder();
  settings = new Settings(this.preferences);
  talk = new TalkButton(found("talk"), () => this.isFree);
  composer = new Composer();
  server = { model: "", voices: [], presets: [] };
  speaks = true;
  sound = null; // once a click or a key allowed it
  #pressing = Promise.resolve();

  /** Whether the server finds out by itself when the user speaks. */
  get isFree() {
    return this.preferences.get("mode") === "free";
  }

  /** Begins; called once. */
  start() {
    this.#wireServer();
    this.#wireTalk();
    this.#wireTools();
    this.#useMode(this.preferences.get("mode"));
    for (const part of [this.listener, this.replies]) part.addEventListener("change", () => this.#show());
    this.socket.connect();
  }

  #wireServer() {
    const { socket } = this;
    socket.addEventListener("described", ({ detail }) => {
      this.server = detail;
      this.settings.describe(detail);
    });
    socket.addEventListener("state", ({ detail }) => this.#heedState(detail));
    socket.addEventListener("message", ({ detail }) => this.#heed(detail));
    found("retry").addEventListener("click", () => socket.connect());
  }

  #wireTalk() {
    const { talk, listener } = this;
    talk.addEventListener("press", () => this.#do(() => (this.#pressing = this.#press())));
    talk.addEventListener("release", () => this.#do(() => this.#release()));
    talk.addEventListener("toggle", () => this.#do(() => this.#toggle()));
    listener.addEventListener("asked", ({ detail }) => this.replies.asked(detail.at, "the end of speech", detail.waited));
    listener.addEventListener("level", ({ detail }) => found("talk").style.setProperty("--level", detail.toFixed(2)));
    listener.addEventListener("began", () => {
      if (!this.isFree) return;
      this.#do(() => this.replies.stop(false));
      this.#do(() => this.#accompany());
    });
    for (const radio of document.querySelectorAll("[name=mode]")) {
      radio.addEventListener("change", () => this.#useMode(radio.value));
    }
  }

  #wireTools() {
    const { composer, outbox, settings, viewfinder } = this;
    composer.addEventListener("text", (event) => {
      if (this.socket.isOpen) this.#do(() => this.#write(event.detail));
      else event.preventDefault();
    });
    composer.addEventListener("files", ({ detail }) => this.#do(() => this.#bring(detail)));
    viewfinder.addEventListener("picture", ({ detail }) => this.#do(() => outbox.picture(detail)));
    viewfinder.addEventListener("fault", ({ detail }) => showFault(detail));
    settings.addEventListener("change", () => this.#configure());
    settings.addEventListener("device", () => this.listener.close());
    settings.addEventListener("forget", () => this.#forget());
    settings.addEventListener("key", () => this.#askForKey("Which key shall be used?"));
    found("stop").addEventListener("click", () => this.#do(() => this.#hush()));
    found("close-fault").addEventListener("click", hideFault);
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && !document.querySelector("dialog[open]")) this.#do(() => this.#hush());
    });
  }

  #heedState({ state, ms, reason }) {
    if (state === "open") return; // the event session.created follows
    this.listener.reset();
    this.replies.reset();
    this.talk.reset();
    if (state === "key") this.#askForKey(reason);
    if (state === "waiting") showPhase(state, `${reason} Next try in ${Math.ceil(ms / 1000)} s.`);
    else showPhase(state);
  }

  #heed(event) {
    if (event.type === "session.created") {
      this.speaks = event.session.output_modalities?.includes("audio") ?? true;
      this.listener.reset();
      this.#configure();
      this.memory.offer();
      this.#show();
    } else if (event.type === "session.updated") {
      this.settings.show(event.session);
    } else if (event.type === "error") {
      this.#refused(event.error);
    } else {
      this.listener.heed(event);
      this.replies.heed(event);
    }
  }

  #refused({ code, message, param }) {
    if (HARMLESS.has(code)) return;
    showFault({ message });
    // the server cannot find out when the user speaks
    if (param?.includes("turn_detection") && this.isFree) this.#useMode("hold");
  }

  async #press() {
    this.#needServer();
    hideFault();
    hushClips();
    this.replies.stop(); // before anything is waited for
    requireSecure("microphone");
    const { microphone } = await this.#openSound();
    await this.#accompany();
    await this.listener.hold(microphone, this.preferences.get("device"));
  }

  async #release() {
    await this.#pressing.catch(() => {});
    await this.listener.release();
  }

  async #toggle() {
    if (this.listener.isListening) {
      this.listener.close();
      return;
    }
    this.#needServer();
    hideFault();
    requireSecure("microphone");
    const { microphone } = await this.#openSound();
    await this.listener.listen(microphone, this.preferences.get("device"));
  }

  /** Sends what the user shows together with what is being said. */
  async #accompany() {
    await this.viewfinder.accompany();
    this.outbox.flush();
  }

  async #write(text) {
    this.replies.stop();
    if (canSound()) await this.#openSound();
    await this.viewfinder.accompany();
    this.replies.asked(performance.now(), "sending");
    this.outbox.text(text);
  }

  async #bring(files) {
    this.#needServer();
    hideFault();
    if (canSound()) await this.#openSound();
    for (const file of files) {
      if (!file.type.startsWith("audio/")) {
        await this.outbox.pictureFile(file);
        continue;
      }
      this.replies.stop();
      await this.outbox.soundFile(file);
      this.replies.asked(performance.now(), "sending");
    }
  }

  async #hush() {
    hushClips();
    await this.replies.stop();
  }

  #needServer() {
    if (!this.socket.isOpen) throw new Fault("There is no connection to the server yet.");
  }

  async #openSound() {
    this.sound = await sound();
    this.replies.useSound(this.sound.player);
    return this.sound;
  }

  #useMode(mode) {
    this.listener.close();
    this.talk.reset();
    this.listener.mode = mode;
    this.preferences.set("mode", mode);
    document.body.dataset.mode = mode;
    document.querySelector(`[name=mode][value=${mode}]`).checked = true;
    this.#configure();
    this.#show();
  }

  #configure() {
    this.socket.send(sessionUpdate(this.preferences, this.server, this.speaks));
  }

  #forget() {
    this.listener.close();
    this.transcript.clear();
    this.outbox.clear();
    this.socket.connect();
  }

  async #askForKey(reason) {
    const key = await askForKey(reason);
    if (!key) return;
    this.preferences.key = key;
    this.socket.connect();
  }

  #show() {
    const { listener, replies, socket } = this;
    if (socket.isOpen) showPhase(this.#phase());
    const isOn = this.isFree ? listener.isListening : listener.isHearing;
    found("talk").setAttribute("aria-pressed", String(isOn));
    found("talk-words").textContent = this.isFree ? "Listen" : "Talk";
    this.#allowStop(replies.isActive || replies.isSounding);
    found("welcome").hidden = this.transcript.entries.length > 0;
    if (!isOn) found("talk").style.setProperty("--level", "0");
  }

  #allowStop(isAllowed) {
    const stop = found("stop");
    // whoever pressed it with a key stays within the tools
    if (!isAllowed && document.activeElement === stop) found("talk").focus();
    stop.disabled = !isAllowed;
  }

  #phase() {
    const { listener, replies } = this;
    if (listener.isHearing) return "hearing";
    if (replies.isSounding) return "speaking";
    if (replies.isActive) return "thinking";
    return listener.isListening ? "listening" : "ready";
  }

  /** Does what may fail, and tells the user if it did. */
  async #do(action) {
    try {
      await action();
    } catch (error) {
      this.talk.reset();
      showFault(error);
      if (!(error instanceof Fault)) throw error;
    }
    this.#show();
  }
}
