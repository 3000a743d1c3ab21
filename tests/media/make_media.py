"""Draws and speaks the media of `make demo`; needs flite (Debian package `flite`).

Run once; its three files are in the repository.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SCALE = 3  # drawn larger, then reduced: smooth edges
SKY, GRASS, SUN = (178, 212, 240), (104, 160, 84), (250, 206, 70)
WALL, ROOF, DOOR, PANE = (214, 120, 96), (120, 60, 52), (92, 64, 44), (246, 240, 200)
FPS = 15
CLIP_SECONDS = 3.4
CLIP_SIZE = (320, 240)
CLIP_RATE = 22_050


def speak(text: str, voice: str, path: Path) -> None:
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)


def drawing(size: tuple[int, int], sun: float) -> Image.Image:
    """A house on grass; `sun` in [0, 1] is how far the sun has gone over the sky."""
    width, height = size[0] * SCALE, size[1] * SCALE
    image = Image.new("RGB", (width, height), SKY)
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float) -> list[float]:
        return [left * width, top * height, right * width, bottom * height]

    across = 0.08 + 0.8 * sun
    up = 0.32 - 0.22 * np.sin(np.pi * sun)
    draw.ellipse(box(across, up, across + 0.12, up + 0.12 * width / height), fill=SUN)
    draw.rectangle(box(0, 0.72, 1, 1), fill=GRASS)
    draw.rectangle(box(0.3, 0.45, 0.7, 0.8), fill=WALL)
    peak = [
        (0.25 * width, 0.45 * height),
        (0.5 * width, 0.2 * height),
        (0.75 * width, 0.45 * height),
    ]
    draw.polygon(peak, fill=ROOF)
    draw.rectangle(box(0.46, 0.6, 0.54, 0.8), fill=DOOR)
    for left in (0.34, 0.58):
        draw.rectangle(box(left, 0.52, left + 0.08, 0.62), fill=PANE)
    return image.resize(size, Image.Resampling.LANCZOS)


def clip_sound(folder: Path) -> npt.NDArray[np.float32]:
    """A sentence, with a beep after it, as long as the clip."""
    spoken = folder / "spoken.wav"
    speak("The sun goes over the house.", "awb", spoken)
    voice, rate = soundfile.read(spoken, dtype="float32")
    voice = soxr.resample(voice, rate, CLIP_RATE)
    sound = np.zeros(int(CLIP_SECONDS * CLIP_RATE), np.float32)
    sound[: len(voice)] = 0.8 * voice[: len(sound)]
    time = np.arange(int(0.3 * CLIP_RATE)) / CLIP_RATE
    start = int(2.6 * CLIP_RATE)
    sound[start : start + len(time)] += 0.3 * np.sin(2 * np.pi * 880 * time) * np.hanning(len(time))
    spoken.unlink()
    return sound


def write_clip(path: Path, sound: npt.NDArray[np.float32]) -> None:
    frames = round(CLIP_SECONDS * FPS)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        picture = container.add_stream("h264", rate=FPS, options={"crf": "26"})
        picture.width, picture.height, picture.pix_fmt = *CLIP_SIZE, "yuv420p"
        voice = container.add_stream("aac", rate=CLIP_RATE, layout="mono")
        for index in range(frames):
            image = drawing(CLIP_SIZE, index / (frames - 1))
            container.mux(picture.encode(av.VideoFrame.from_image(image)))
        container.mux(picture.encode(None))
        for start in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = CLIP_RATE, start
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))


def main() -> None:
    speak("Hello. Who are you, and what can you do?", "slt", HERE / "question.wav")
    drawing((301, 217), 0.8).save(HERE / "drawing.png", optimize=True)
    write_clip(HERE / "clip.mp4", clip_sound(HERE))


if __name__ == "__main__":
    main()
