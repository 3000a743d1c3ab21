/** A picture that is made small enough to be sent. */

import { Fault } from "./fault.js";

const MOST_SIDE = 1024; // pixels
const QUALITY = 0.85;

/**
 * @param {Blob | HTMLVideoElement} source a file, or a camera's picture
 * @param {number} most the longer side of the result, in pixels
 * @returns {Promise<string>} a data: URL of a JPEG
 * @throws {Fault} the file is no picture
 */
export async function shrunk(source, most = MOST_SIDE) {
  const picture = source instanceof Blob ? await decoded(source) : source;
  const width = picture.videoWidth || picture.width;
  const height = picture.videoHeight || picture.height;
  const scale = Math.min(1, most / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (picture.close) picture.close();
  return canvas.toDataURL("image/jpeg", QUALITY);
}

async function decoded(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Fault(`${blob.name ?? "This file"} is no picture that the browser can read.`, "Try a JPEG or PNG.");
  }
}
