/** The settings of a session, as `session.update` has them. */

import { RATE_HZ } from "./pcm.js";

/**
 * @param {import("./preferences.js").Preferences} preferences
 * @param {import("./server.js").Description} server
 * @param {boolean} speaks whether the model has a voice
 * @returns {object} an event
 */
export function sessionUpdate(preferences, server, speaks) {
  const format = { type: "audio/pcm", rate: RATE_HZ };
  const voice = server.voices.includes(preferences.get("voice")) ? preferences.get("voice") : null;
  const preset = server.presets.includes(preferences.get("preset")) ? preferences.get("preset") : null;
  const instructions = preferences.get("instructions").trim();
  return {
    type: "session.update",
    session: {
      type: "realtime",
      output_modalities: [speaks ? "audio" : "text"],
      ...(instructions && { instructions }),
      audio: {
        input: { format, turn_detection: turnDetection(preferences) },
        ...(speaks && { output: { format, ...(voice && { voice }), ...(preset && { preset }) } }),
      },
    },
  };
}

function turnDetection(preferences) {
  if (preferences.get("mode") !== "free") return null;
  return {
    type: "server_vad",
    silence_duration_ms: preferences.get("pause"),
    create_response: true,
    interrupt_response: true,
  };
}
