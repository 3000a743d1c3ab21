/** What is written or brought along: text, pictures and sounds from files, drops and pastes. */

import { found } from "./element.js";

/** Events: `text` with `detail` the message, `files` with `detail` a list of File. */
export class Composer extends EventTarget {
  #field = found("text");

  constructor() {
    super();
    const form = found("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("input", () => this.#fit());
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.#takeFiles();
  }

  #submit() {
    const text = this.#field.value.trim();
    if (!text) return;
    // whoever cannot send it now calls preventDefault, and it stays in the field
    const event = new CustomEvent("text", { detail: text, cancelable: true });
    if (!this.dispatchEvent(event)) return;
    this.#field.value = "";
    this.#fit();
  }

  /** Makes the field as high as its text. */
  #fit() {
    found("send").disabled = !this.#field.value.trim();
    this.#field.style.blockSize = "auto";
    this.#field.style.blockSize = `${this.#field.scrollHeight}px`;
  }

  #takeFiles() {
    const chooser = found("file");
    found("choose").addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      this.#tell(chooser.files);
      chooser.value = ""; // the same file may be chosen again
    });
    document.addEventListener("paste", ({ clipboardData }) => this.#tell(clipboardData.files));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#tell(event.dataTransfer.files);
    });
  }

  #tell(files) {
    if (files?.length) this.dispatchEvent(new CustomEvent("files", { detail: [...files] }));
  }
}
