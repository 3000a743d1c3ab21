/** The panel with the camera's live picture. */

import { Camera } from "./camera.js";
import { found } from "./element.js";

/** Events: `picture` with `detail` a data: URL, `fault` with `detail` the fault. */
export class Viewfinder extends EventTarget {
  #panel = found("viewfinder");
  #camera = new Camera(this.#panel.querySelector("video"));

  constructor() {
    super();
    found("open-camera").addEventListener("click", () => (this.#camera.isOpen ? this.#close() : this.#open()));
    found("close-camera").addEventListener("click", () => {
      this.#close();
      found("open-camera").focus();
    });
    found("turn-camera").addEventListener("click", () => this.#try(() => this.#camera.turn()));
    found("take").addEventListener("click", () => this.#take());
    this.#camera.addEventListener("lost", () => this.#close());
  }

  /** Takes a picture if the user wants one with every turn. */
  async accompany() {
    if (this.#camera.isOpen && found("each-turn").checked) await this.#take();
  }

  async #take() {
    const detail = await this.#camera.frame();
    this.dispatchEvent(new CustomEvent("picture", { detail }));
  }

  async #open() {
    this.#show(true); // a hidden video may not play
    await this.#try(() => this.#camera.open());
    if (!this.#camera.isOpen) return;
    found("take").disabled = false;
    found("take").focus();
  }

  #close() {
    this.#camera.close();
    this.#show(false);
  }

  #show(isOpen) {
    this.#panel.hidden = !isOpen;
    found("take").disabled = true; // until there is a picture
    found("open-camera").setAttribute("aria-expanded", String(isOpen));
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.#close();
      this.dispatchEvent(new CustomEvent("fault", { detail: error }));
    }
  }
}
