/** The talk button: held with a finger, a pointer or the space bar, or pressed once and once more. */

const TAP_MS = 250; // a shorter press begins a turn that the next press ends

/** Events: `press` (begin to hear), `release` (answer now), `toggle` (hands free on or off). */
export class TalkButton extends EventTarget {
  #button;
  #since = 0;
  #isLatched = false;
  #isDown = false;

  /** @param {HTMLButtonElement} button @param {() => boolean} isFree whether it is a switch */
  constructor(button, isFree) {
    super();
    this.#button = button;
    this.isFree = isFree;
    button.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    for (const name of ["pointerup", "pointercancel"]) button.addEventListener(name, () => this.#up());
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
    // of Enter or a screen reader: no pointer went down
    button.addEventListener("click", (event) => event.detail === 0 && this.#clicked());
    document.addEventListener("keydown", (event) => this.#keyDown(event));
    document.addEventListener("keyup", (event) => this.#keyUp(event));
    window.addEventListener("blur", () => this.#up());
  }

  /** Forgets a press that led to nothing. */
  reset() {
    this.#isDown = this.#isLatched = false;
  }

  #pointerDown(event) {
    if (event.button !== 0) return;
    this.#button.setPointerCapture(event.pointerId);
    this.#down();
  }

  #keyDown(event) {
    if (event.code !== "Space" || !this.#isOurs(event)) return;
    event.preventDefault(); // no scrolling, no click
    if (!event.repeat) this.#down();
  }

  #keyUp(event) {
    if (event.code !== "Space" || !this.#isDown) return;
    event.preventDefault();
    this.#up();
  }

  /** Says whether a key is not meant for what has the focus. */
  #isOurs({ target, ctrlKey, altKey, metaKey }) {
    if (ctrlKey || altKey || metaKey || document.querySelector("dialog[open]")) return false;
    return target === this.#button || !target.closest("button, input, textarea, select, a, video");
  }

  #down() {
    if (this.isFree()) {
      this.#tell("toggle");
    } else if (this.#isLatched) {
      this.#isLatched = false;
      this.#tell("release");
    } else {
      this.#isDown = true;
      this.#since = performance.now();
      this.#tell("press");
    }
  }

  #up() {
    if (!this.#isDown) return;
    this.#isDown = false;
    if (performance.now() - this.#since < TAP_MS) this.#isLatched = true;
    else this.#tell("release");
  }

  #clicked() {
    this.#down();
    if (this.#isDown) {
      this.#isDown = false;
      this.#isLatched = true;
    }
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
