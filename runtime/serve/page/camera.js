/** The camera: a live picture, of which frames are taken. */

import { request } from "./microphone.js";
import { shrunk } from "./picture.js";

/** Shows what the camera sees in a video element. Event `lost` when the device went away. */
export class Camera extends EventTarget {
  #video;
  #stream = null;
  isOpen = false; // once there is a picture
  #facing = "environment"; // a phone's back camera first

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    super();
    this.#video = video;
  }

  /** Asks for the camera. @throws {Fault} there is none, or it may not be used */
  async open() {
    this.close();
    this.#stream = await request({
      video: { facingMode: { ideal: this.#facing }, width: { ideal: 1280 }, height: { ideal: 960 } },
    });
    this.#stream.getVideoTracks()[0].addEventListener("ended", () => {
      this.close();
      this.dispatchEvent(new Event("lost"));
    });
    this.#video.srcObject = this.#stream;
    await this.#video.play();
    this.isOpen = true;
  }

  /** Takes the other camera of a phone. */
  async turn() {
    this.#facing = this.#facing === "environment" ? "user" : "environment";
    await this.open();
  }

  /** @returns {Promise<string>} what it sees now, as a data: URL */
  frame() {
    return shrunk(this.#video);
  }

  /** Lets go of the device. Harmless if repeated. */
  close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.isOpen = false;
    this.#stream = null;
    this.#video.srcObject = null;
  }
}
