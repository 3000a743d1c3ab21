"""The inputs that a reference is recorded of: short, and such as a conversation has.

They are stored with what the graphs made of them, so nothing here need give the same numbers on
another machine. Large ones are of half precision, which holds them exactly.
"""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np

from omnijet.runtime.bundle.contract import Array, widened
from omnijet.runtime.bundle.dims import AudioEncoderDims, VisionEncoderDims, VocoderDims
from omnijet.runtime.bundle.folder import CHAT_TEMPLATE, TOKENIZER, Bundle
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.image import frame_patches
from omnijet.runtime.media.log_mel import log_mel
from omnijet.runtime.model.rope import MRope
from omnijet.runtime.prompt.chat import render_chat
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.speech.dit import DitTables, rotary_tables

ROWS = 32  # of a prompt; one more row is the step after it
CELLS = (5, 6)  # of the picture: whole windows and cut ones
BLOCKS = 2  # of the DiT
FRAMES = 32  # of the vocoder: a sample hears 28 on each side
SEED = 20250326
WORDS = (
    "What do you see in the picture, and what did the speaker say about the weather? "
    "Answer in two short sentences, please; then count from one to five."
)
MOST = 60_000.0
"""The largest number that is stored: half precision ends at 65,504."""


def inputs_of(bundle: Bundle, graph: str, hidden: Array | None = None) -> dict[str, Array]:
    """Returns the inputs of one graph, by the names that `omnijet.runtime.reference.replay` reads.

    Args:
        hidden: f32[rows, width], what the Thinker made of its own inputs: the Talker reads it.

    Raises:
        OmnijetError: tokenizer, template or tables of the bundle cannot be read.
    """
    dims = bundle.manifest.dims
    preprocessing = Preprocessing.from_json(bundle.manifest.preprocessor)
    match graph:
        case "audio_encoder":
            return {"mel": _half(_heard(dims.audio, preprocessing))}
        case "vision_encoder":
            grid = np.array(CELLS) * dims.vision.merge
            return {"patches": _half(_seen(dims.vision, preprocessing)), "grid": grid}
        case "thinker_step":
            return _rows(bundle, _text_rows(bundle), "thinker_step")
        case "talker_step":
            return _rows(bundle, _spoken_rows(bundle, hidden), "talker_step")
        case "dit_step":
            return _noisy(bundle)
    assert graph == "vocoder", graph
    return {"mel": _half(_mel(dims.vocoder))}


def _half(array: Array) -> Array:
    return np.clip(array, -MOST, MOST).astype(np.float16)


def _random() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _heard(dims: AudioEncoderDims, preprocessing: Preprocessing) -> Array:
    """Returns f32[n_mels, frames] of a voice that glides and pauses: a chunk and a third."""
    frames = dims.chunk_frames + max(dims.chunk_frames // 3, 4)
    rate = preprocessing.sample_rate_hz
    time = np.arange(frames * preprocessing.hop) / rate
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time)  # Hz
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(
        np.sin(number * phase) * np.exp(-(((number * 120 - formant) / 250) ** 2))
        for number in range(1, 25)
        for formant in (500, 1500, 2500)
    )
    loudness = np.clip(np.sin(2 * np.pi * 2.3 * time), 0, None)
    sound = 0.1 * voice * loudness + 0.003 * _random().standard_normal(time.size)
    return log_mel(sound.astype(np.float32), preprocessing)[:, :frames]


def _seen(dims: VisionEncoderDims, preprocessing: Preprocessing) -> Array:
    """Returns f32[patches, patch_width] of a picture with an edge, a disc and some grain."""
    side = dims.merge * dims.patch
    height, width = CELLS[0] * side, CELLS[1] * side
    down, across = np.mgrid[:height, :width]
    picture = np.stack([255 * down / height, 255 * across / width, 90 + 0 * down], axis=-1)
    picture[across > width * 0.6] *= 0.4
    disc = (down - height * 0.4) ** 2 + (across - width * 0.35) ** 2 < (0.25 * height) ** 2
    picture[disc] = (230, 40, 60)
    picture += 12 * _random().standard_normal(picture.shape)
    frames = np.clip(picture, 0, 255).astype(np.uint8)[None]
    return frame_patches(frames, preprocessing)[0]


def _text_rows(bundle: Bundle) -> Array:
    """Returns f32[rows + 1, width]: a question as the Thinker reads it."""
    messages = parse_messages([{"role": "user", "content": WORDS}])
    text = render_chat(messages, bundle.text(CHAT_TEMPLATE))
    with bundle.watch.reading(TOKENIZER):
        ids = Tokenizer(bundle.folder / TOKENIZER).encode(text)
    chosen = list(islice(cycle(ids), ROWS + 1))
    return widened(bundle.table("thinker_embedding")[chosen])


def _spoken_rows(bundle: Bundle, hidden: Array | None) -> Array:
    """Returns f32[rows + 1, width]: a prompt and the reply to it, as the Talker reads them."""
    rows = _text_rows(bundle)
    if hidden is not None:
        rows += hidden
    codes = bundle.table("talker_embedding")
    reply = ROWS // 2  # from here on codes are added
    rows[reply:] += widened(codes[_random().integers(0, len(codes), ROWS + 1 - reply)])
    return rows


def _rows(bundle: Bundle, embeds: Array, graph: str) -> dict[str, Array]:
    dims = bundle.manifest.dims
    decoder = dims.thinker if graph == "thinker_step" else dims.talker
    positions = np.broadcast_to(np.arange(len(embeds)), (3, 1, len(embeds)))
    cos, sin = MRope.of(decoder).tables(positions)
    return {"embeds": _half(embeds), "cos": cos[0], "sin": sin[0]}


def _noisy(bundle: Bundle) -> dict[str, Array]:
    """Returns the first evaluation of a stretch: noise, with codes and a voice."""
    dims = bundle.manifest.dims.dit
    tables = DitTables.load(bundle.table, dims)
    random, frames = _random(), BLOCKS * dims.block
    codes = random.integers(0, len(tables.codec), -(-frames // dims.repeats))
    voice = bundle.table(f"voice_{next(iter(bundle.manifest.voices))}")
    cos, sin = rotary_tables(tables.inv_freq, frames)
    return {
        "x": _half(random.standard_normal((frames, dims.mel))),
        "static": _half(tables.static(codes, voice)[:, :frames]),
        "modulation": _half(tables.modulation[0]),
        "modulation_out": _half(tables.modulation_out[0]),
        "cos": cos[0],
        "sin": sin[0],
    }


def _mel(dims: VocoderDims) -> Array:
    """Returns f32[mel, frames], natural logarithms: a voiced sound over a quiet room."""
    band, frame = np.mgrid[: dims.mel, :FRAMES]
    formants = sum(4 * np.exp(-(((band - centre) / 4) ** 2)) for centre in (12, 30, 48))
    swell = 1 + np.sin(2 * np.pi * frame / FRAMES)
    mel: Array = -8 + formants * swell + 0.5 * _random().standard_normal(band.shape)
    return mel
