/** The dialog of settings. */

import { element, found } from "./element.js";
import { devices } from "./microphone.js";

/** Events: `change` (the server must be told), `device`, `forget`, `key`. */
export class Settings extends EventTarget {
  #preferences;
  #dialog = found("settings");

  constructor(preferences) {
    super();
    this.#preferences = preferences;
    found("open-settings").addEventListener("click", () => this.#open());
    found("forget").addEventListener("click", () => this.#leave("forget"));
    found("change-key").addEventListener("click", () => this.#leave("key"));
    for (const name of ["voice", "preset", "instructions"]) this.#bind(name, "change");
    this.#bind("device", "device");
    this.#bindPause();
  }

  /** Shows what the server has to choose from. */
  describe({ model, voices, presets }) {
    found("model").textContent = model;
    this.#fill("voice", voices.map((name) => [name, name]));
    this.#fill("preset", presets.map((name) => [name, name]));
  }

  /** Shows what the session has. */
  show({ audio }) {
    for (const name of ["voice", "preset"]) this.#select(name, audio?.output?.[name]);
  }

  async #open() {
    found("change-key").hidden = !this.#preferences.key;
    found("instructions").value = this.#preferences.get("instructions");
    this.#dialog.showModal();
    const named = (await devices()).map(({ deviceId, label }) => [deviceId, label]);
    this.#fill("device", named.length ? [["", "As the system has it"], ...named] : []);
    this.#select("device", this.#preferences.get("device"));
  }

  #bind(name, event) {
    found(name).addEventListener("change", ({ target }) => {
      this.#preferences.set(name, target.value);
      this.#tell(event);
    });
  }

  #bindPause() {
    const slider = found("pause");
    const show = () => (found("pause-value").textContent = `${slider.value} ms`);
    slider.value = this.#preferences.get("pause");
    show();
    slider.addEventListener("input", show);
    slider.addEventListener("change", () => {
      this.#preferences.set("pause", Number(slider.value));
      this.#tell("change");
    });
  }

  #fill(name, options) {
    found(name).replaceChildren(...options.map(([value, label]) => element("option", { value }, label)));
    this.#dialog.querySelector(`[data-for=${name}]`).hidden = !options.length;
  }

  #select(name, wanted) {
    const select = found(name);
    if ([...select.options].some(({ value }) => value === wanted)) select.value = wanted;
  }

  #leave(event) {
    this.#dialog.close();
    this.#tell(event);
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
