/** What the user has chosen: kept in this browser, the key only as long as the tab is open. */

const CHOICES = "omnijet.choices";
const KEY = "omnijet.key";
const FIRST = { mode: "hold", voice: "", preset: "", instructions: "", pause: 500, device: "" };

/** Choices that outlive the page. */
export class Preferences {
  #choices = { ...FIRST, ...read(localStorage, CHOICES) };

  /** @param {keyof typeof FIRST} name */
  get(name) {
    return this.#choices[name];
  }

  set(name, value) {
    this.#choices[name] = value;
    write(localStorage, CHOICES, this.#choices);
  }

  get key() {
    return read(sessionStorage, KEY) ?? "";
  }

  set key(value) {
    write(sessionStorage, KEY, value || null);
  }
}

// storage may be forbidden, or hold what another version wrote
function read(storage, name) {
  try {
    return JSON.parse(storage.getItem(name));
  } catch {
    return null;
  }
}

function write(storage, name, value) {
  try {
    storage.setItem(name, JSON.stringify(value));
  } catch {
    // then it is forgotten with the page
  }
}
