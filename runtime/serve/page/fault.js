/** A fault that a person can do something about. */
export class Fault extends Error {
  /** @param {string} message what is wrong @param {string} fix the way out */
  constructor(message, fix = "") {
    super(message);
    this.name = "Fault";
    this.fix = fix;
  }
}
