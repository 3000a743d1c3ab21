/** A sound from a file, as 24 kHz mono. */

import { Fault } from "./fault.js";
import { RATE_HZ, toInt16 } from "./pcm.js";

const MOST_S = 60;

/** @param {File} file @returns {Promise<Int16Array>} @throws {Fault} it is no sound, or too long */
export async function readSound(file) {
  const buffer = await decoded(file);
  if (buffer.duration > MOST_S) throw new Fault(`${file.name} is too long.`, `At most ${MOST_S} s.`);
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < mono.length; i += 1) mono[i] += samples[i] / buffer.numberOfChannels;
  }
  return toInt16(mono);
}

async function decoded(file) {
  try {
    // it resamples to the rate of its context
    return await new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Fault(`${file.name} is no sound that the browser can read.`, "Try a WAV or MP3.");
  }
}
