"""What the dimensions of one model say about each other, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    DecoderDims,
    DitDims,
    EcapaDims,
    ModelDims,
    SpeechDims,
    VisionEncoderDims,
    VocoderDims,
)
from omnijet.runtime.bundle.preprocessing import Preprocessing

Rule = tuple[bool, str]
"""Whether it holds, and what must hold."""


def dims_faults(dims: ModelDims) -> list[str]:
    """Returns one line for each rule that the dimensions break."""
    rules = [*_audio(dims.audio), *_vision(dims.vision), *_decoder("thinker", dims.thinker)]
    width = dims.thinker.hidden
    rules += [
        (dims.audio.out == width, f"audio.out is thinker.hidden {width}"),
        (dims.vision.out == width, f"vision.out is thinker.hidden {width}"),
        (dims.thinker.embed_width == width, f"thinker.embed_width is thinker.hidden {width}"),
    ]
    rules += _tokens(dims)
    if dims.speech is not None:
        rules += _speech(dims.speech, width)
    return [f"dims: expected that {rule}" for holds, rule in rules if not holds]


def model_faults(dims: ModelDims) -> list[str]:
    """Returns one line for each value that no manifest may have, or else for each broken rule."""
    try:
        ModelDims.from_json(dims.to_json())
    except ValueError as error:
        return [line.strip() for line in str(error).splitlines()]
    return dims_faults(dims)


def preprocessing_faults(preprocessing: Preprocessing, dims: ModelDims) -> list[str]:
    """Returns one line for each place where media would not fit the encoders."""
    one = preprocessing
    equal = {
        "patch": (one.patch, dims.vision.patch),
        "temporal_patch": (one.temporal_patch, dims.vision.temporal_patch),
        "merge": (one.merge, dims.vision.merge),
        "n_mels": (one.n_mels, dims.audio.n_mels),
    }
    faults = [
        f"preprocessor.{name}: expected {encoder}, as the encoder has it, got {media}"
        for name, (media, encoder) in equal.items()
        if media != encoder
    ]
    for least, most in (
        ("image_min_pixels", "image_max_pixels"), ("video_min_pixels", "video_max_pixels"),
        ("video_min_frames", "video_max_frames"), ("hop", "n_fft"), ("n_fft", "sample_rate_hz"),
    ):  # fmt: skip
        if getattr(one, least) > getattr(one, most):
            faults.append(f"preprocessor: expected that {least} is at most {most}")
    return faults


def _audio(audio: AudioEncoderDims) -> Iterator[Rule]:
    yield audio.hidden % audio.heads == 0, f"audio.hidden is a multiple of {audio.heads} heads"
    yield audio.hidden % 2 == 0 and audio.hidden >= 4, "audio.hidden is even and at least 4"
    yield audio.n_window % 2 == 0, "audio.n_window is even"
    yield audio.n_window <= audio.max_positions, "audio.n_window is at most audio.max_positions"


def _vision(vision: VisionEncoderDims) -> Iterator[Rule]:
    fits = vision.hidden % (4 * vision.heads) == 0
    yield fits, f"vision.hidden is a multiple of 4 for each of {vision.heads} heads"
    cell = vision.patch * vision.merge
    yield vision.window % cell == 0, f"vision.window is a multiple of patch x merge = {cell}"


def _decoder(name: str, decoder: DecoderDims) -> Iterator[Rule]:
    fits = decoder.heads % decoder.kv_heads == 0
    yield fits, f"{name}.heads is a multiple of {decoder.kv_heads} kv_heads"
    yield decoder.head_dim % 2 == 0, f"{name}.head_dim is even"
    half = decoder.head_dim // 2
    yield sum(decoder.mrope_section) == half, f"{name}.mrope_section sums up to {half}"


def _tokens(dims: ModelDims) -> Iterator[Rule]:
    ids: dict[str, Any] = asdict(dims.tokens)
    text = {
        key: value
        for key, value in ids.items()
        if isinstance(value, int) and not key.startswith(("position_ids", "seconds", "tts_"))
    }
    if dims.speech is not None:
        text |= {k: v for k, v in ids.items() if isinstance(v, int) and k.startswith("tts_")}
    vocab = dims.thinker.vocab
    for key, value in (*text.items(), *(("eos", one) for one in dims.tokens.eos)):
        yield value < vocab, f"tokens.{key} {value} is below thinker.vocab {vocab}"
    yield len(dims.tokens.eos) > 0, "tokens.eos has an id"


def _speech(speech: SpeechDims, width: int) -> Iterator[Rule]:
    yield from _decoder("talker", speech.talker)
    embed, mel = speech.talker.embed_width, speech.dit.mel
    yield embed == width, f"talker.embed_width is thinker.hidden {width}"
    codes = (*speech.codec.ends, speech.codec.bos, speech.codec.mask)
    vocab = speech.talker.vocab
    yield max(codes) < vocab, f"the ids of codec are below talker.vocab {vocab}"
    yield from _dit(speech.dit)
    yield from _ecapa(speech.ecapa)
    yield from _vocoder(speech.vocoder)
    yield speech.vocoder.mel == mel, f"vocoder.mel is dit.mel {mel}"
    yield speech.ecapa.mel == mel, f"ecapa.mel is dit.mel {mel}"
    yield speech.ecapa.out == speech.dit.speaker_embed, "ecapa.out is dit.speaker_embed"


def _dit(dit: DitDims) -> Iterator[Rule]:
    yield dit.head_dim % 2 == 0, "dit.head_dim is even"
    yield dit.block % dit.repeats == 0, f"dit.block is a multiple of {dit.repeats} repeats"


def _ecapa(ecapa: EcapaDims) -> Iterator[Rule]:
    lengths = {len(ecapa.channels), len(ecapa.kernels), len(ecapa.dilations)}
    yield len(lengths) == 1 and min(lengths) >= 3, "ecapa has one kernel and dilation per channel"


def _vocoder(vocoder: VocoderDims) -> Iterator[Rule]:
    kernels, dilations = vocoder.resblock_kernels, vocoder.resblock_dilations
    yield len(kernels) == len(dilations) > 0, "vocoder has dilations for each resblock kernel"
    exact = len(vocoder.kernels) == len(vocoder.rates) > 0 and all(
        kernel >= rate and (kernel - rate) % 2 == 0
        for kernel, rate in zip(vocoder.kernels, vocoder.rates, strict=True)
    )
    yield exact, "vocoder.kernels are rate + 2 n for each of vocoder.rates"
    parts = 2 ** len(vocoder.rates)
    yield vocoder.channels % parts == 0, f"vocoder.channels is a multiple of 2**stages = {parts}"
    yield vocoder.hop <= 1 << 16, "the product of vocoder.rates is at most 65536"
