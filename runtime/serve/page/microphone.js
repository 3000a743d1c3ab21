/** The microphone: blocks of 40 ms at 24 kHz, with echo and noise taken out by the browser. */

import { Fault } from "./fault.js";
import { level, RATE_HZ, toInt16 } from "./pcm.js";
import { Resampler } from "./resampler.js";

/**
 * Listens while it is open.
 *
 * Events: `block` with `detail.samples` (Int16Array at 24 kHz) and `detail.level` in [0, 1];
 * `lost` when the device went away.
 */
export class Microphone extends EventTarget {
  #context;
  #stream = null;
  #nodes = [];

  /** @param {AudioContext} context whose capture worklet is loaded */
  constructor(context) {
    super();
    this.#context = context;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /**
   * Asks for the microphone. Harmless if it is open.
   * @param {string} device of `devices()`; empty for the default one
   * @throws {Fault} there is none, or it may not be used
   */
  async open(device = "") {
    if (this.isOpen) return;
    this.#stream = await request({
      audio: {
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        channelCount: 1,
        ...(device && { deviceId: { ideal: device } }),
      },
    });
    const source = this.#context.createMediaStreamSource(this.#stream);
    const capture = new AudioWorkletNode(this.#context, "omnijet-capture", {
      channelCount: 1,
      channelCountMode: "explicit",
      numberOfOutputs: 0,
    });
    const resampler = new Resampler(this.#context.sampleRate, RATE_HZ);
    capture.port.onmessage = ({ data }) => {
      const detail = { samples: toInt16(resampler.push(data.samples)), level: level(data.samples) };
      this.dispatchEvent(new CustomEvent("block", { detail }));
    };
    source.connect(capture);
    this.#nodes = [source, capture];
    this.#stream.getAudioTracks()[0].addEventListener("ended", () => {
      this.close();
      this.dispatchEvent(new Event("lost"));
    });
  }

  /** Lets go of the device. Harmless if repeated. */
  close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    for (const node of this.#nodes) {
      node.disconnect();
      if (node.port) node.port.onmessage = null;
    }
    this.#stream = null;
    this.#nodes = [];
  }
}

/** @returns {Promise<MediaDeviceInfo[]>} microphones whose names the browser tells */
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return all.filter((one) => one.kind === "audioinput" && one.deviceId && one.label);
}

/**
 * Asks for the microphone or the camera.
 * @param {MediaStreamConstraints} constraints
 * @throws {Fault} in words that tell the way out
 */
export async function request(constraints) {
  const what = constraints.audio ? "microphone" : "camera";
  requireSecure(what);
  try {
    return await navigator.mediaDevices.getUserMedia(constraints);
  } catch (error) {
    throw refusal(error, what);
  }
}

/** @param {string} what the page wants @throws {Fault} browsers give it to no such address */
export function requireSecure(what) {
  if (window.isSecureContext && navigator.mediaDevices) return;
  throw new Fault(
    `This address is not secure, so the browser gives the page no ${what}.`,
    `Open it as http://localhost:${location.port || 80} (from another device: ssh -L), ` +
      "or through a proxy with https.",
  );
}

function refusal(error, what) {
  const words = {
    NotAllowedError: [
      `The ${what} is blocked for this page.`,
      `Allow the ${what} in the browser's site settings (the icon beside the address), then try again.`,
    ],
    NotFoundError: [`No ${what} was found.`, "Connect one, then try again."],
    NotReadableError: [`The ${what} is in use or does not answer.`, "Close other programs that use it."],
  };
  const [what_, fix] = words[error.name] ?? [`The ${what} could not be opened: ${error.message}`, ""];
  return new Fault(what_, fix);
}
