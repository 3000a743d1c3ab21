"""The model's facts: dimensions and special ids, as frozen values.

They come from a checkpoint's `config.json` at export
(`omnijet.export.checkpoint.config`) and travel to the device in the manifest. Deployment limits
(context length, picture size) live elsewhere, because they are choices and not facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from omnijet.runtime.bundle.ranges import Few, Index, Size, Within
from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError

DitProducts = Literal["f32", "f16"]

AUDIO_POOL = 2  # positions of the audio encoder averaged into one token


def audio_positions(mel_frames: int) -> int:
    """Returns the audio encoder's positions for mel frames: its convolution has stride 2."""
    return (mel_frames + 1) // 2


def audio_token_count(mel_frames: int) -> int:
    """Returns the tokens of a sound: 25 a second, 0 below 3 mel frames."""
    return audio_positions(mel_frames) // AUDIO_POOL


@dataclass(frozen=True, slots=True)
class AudioEncoderDims:
    """`thinker.audio_tower`: Whisper-like layers over independent chunks of 2 s."""

    n_mels: Few
    hidden: Size
    layers: Few
    heads: Few
    ffn: Size
    n_window: Size  # half a chunk, in mel frames
    max_positions: Size
    out: Size

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def chunk_frames(self) -> int:
        """Mel frames in a full chunk (200 = 2 s)."""
        return 2 * self.n_window

    @property
    def chunk_positions(self) -> int:
        """Encoder positions in a full chunk, after the stride-2 convolution (100)."""
        return (self.chunk_frames - 1) // 2 + 1

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a full chunk (50)."""
        return self.chunk_positions // 2


@dataclass(frozen=True, slots=True)
class VisionEncoderDims:
    """`thinker.visual`: window attention, full attention in a few layers."""

    hidden: Size
    layers: Few
    heads: Few
    ffn: Size
    in_channels: Few
    patch: Few  # pixels
    temporal_patch: Few  # frames
    merge: Few  # patches per side of a merged cell
    window: Size  # pixels per side
    full_attention_layers: tuple[Index, ...]
    out: Size

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def patch_width(self) -> int:
        """Values in one flattened patch (3 x 2 x 14 x 14 = 1176)."""
        return self.in_channels * self.temporal_patch * self.patch * self.patch

    @property
    def cell_patches(self) -> int:
        """Patches merged into one token (4)."""
        return self.merge * self.merge

    @property
    def window_cells(self) -> int:
        """Merged cells per side of a window (4)."""
        return self.window // self.patch // self.merge

    @property
    def window_patches(self) -> int:
        """Patches in a full window (64)."""
        return self.window_cells**2 * self.cell_patches


@dataclass(frozen=True, slots=True)
class DecoderDims:
    """A Qwen2-style decoder: the Thinker's text model or the Talker."""

    hidden: Size
    layers: Few
    heads: Few
    kv_heads: Few
    head_dim: Size
    ffn: Size
    vocab: Size
    embed_width: Size  # width of the rows fed in: the Thinker's hidden, for both decoders
    rope_theta: Annotated[float, Within(1, 1e15)]
    mrope_section: tuple[Index, Index, Index]
    rms_eps: Annotated[float, Within(1e-30, 1)]
    max_positions: Size


@dataclass(frozen=True, slots=True)
class DitDims:
    """`token2wav.code2wav_dit_model`: codec tokens to mel by flow matching.

    Attributes:
        products: what the products of the blocks multiply. It is chosen at export, and travels
            with the facts because the graph, its trace and its engine follow from it.
    """

    hidden: Size
    layers: Few
    heads: Few
    head_dim: Size
    ff_mult: Few
    mel: Few
    codec_embed: Size
    codec_rows: Size  # rows of the codec table (num_embeds + 1)
    repeats: Few  # mel frames per codec token
    block: Size  # mel frames
    look_ahead_layers: tuple[Index, ...]
    look_back_layers: tuple[Index, ...]
    speaker_cond: Size  # width of spk_dict's `cond`
    speaker_embed: Size  # width of the ECAPA embedding
    products: DitProducts = "f32"


@dataclass(frozen=True, slots=True)
class EcapaDims:
    """`...input_embed.spk_encoder`, which runs at export only."""

    mel: Few
    channels: tuple[Size, ...]
    kernels: tuple[Few, ...]
    dilations: tuple[Few, ...]
    attention_channels: Size
    res2net_scale: Few
    se_channels: Size
    out: Size


@dataclass(frozen=True, slots=True)
class VocoderDims:
    """`token2wav.code2wav_bigvgan_model`: mel to waveform."""

    mel: Few
    channels: Size
    resblock_kernels: tuple[Few, ...]
    resblock_dilations: tuple[tuple[Few, ...], ...]
    rates: tuple[Few, ...]
    kernels: tuple[Few, ...]

    @property
    def hop(self) -> int:
        """Samples per mel frame (240)."""
        hop = 1
        for rate in self.rates:
            hop *= rate
        return hop


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Special ids of the text vocabulary, and the clock of TMRoPE."""

    audio: Index
    image: Index
    video: Index
    audio_bos: Index
    audio_eos: Index
    vision_bos: Index
    vision_eos: Index
    pad: Index
    eos: tuple[Index, ...]
    tts_pad: Index
    tts_bos: Index
    tts_eos: Index
    position_ids_per_second: Size  # 25: one time id per 40 ms
    seconds_per_chunk: Few  # 2: interleaving of a clip's picture and sound


@dataclass(frozen=True, slots=True)
class CodecIds:
    """Special ids of the codec vocabulary.

    Attributes:
        more_ends: codes that end speech beside `pad` and `eos`.
    """

    pad: Index
    bos: Index
    eos: Index
    mask: Index
    more_ends: tuple[Index, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """The codes that end speech."""
        return (self.pad, self.eos, *self.more_ends)


@dataclass(frozen=True, slots=True)
class SpeechDims:
    """The parts that speak: Talker, DiT with its speaker encoder, vocoder, and their codes."""

    talker: DecoderDims
    dit: DitDims
    ecapa: EcapaDims
    vocoder: VocoderDims
    codec: CodecIds


@dataclass(frozen=True, slots=True)
class ModelDims:
    """All facts of one checkpoint that a graph or the runtime depends on.

    The parts that speak are properties, too: `dims.talker` is `dims.speech.talker`, and an
    `OmnijetError` in a model without a voice.

    Attributes:
        speech: the parts that speak; None in a model that hears, sees and writes only.
    """

    audio: AudioEncoderDims
    vision: VisionEncoderDims
    thinker: DecoderDims
    tokens: TokenIds
    speech: SpeechDims | None

    @property
    def has_voice(self) -> bool:
        """Whether the model speaks."""
        return self.speech is not None

    @property
    def talker(self) -> DecoderDims:
        return self._speech.talker

    @property
    def dit(self) -> DitDims:
        return self._speech.dit

    @property
    def ecapa(self) -> EcapaDims:
        return self._speech.ecapa

    @property
    def vocoder(self) -> VocoderDims:
        return self._speech.vocoder

    @property
    def codec(self) -> CodecIds:
        return self._speech.codec

    @property
    def _speech(self) -> SpeechDims:
        if self.speech is None:
            raise no_voice()
        return self.speech

    def to_json(self) -> dict[str, Any]:
        """Returns plain dicts, lists and numbers, as the manifest stores them.

        The parts that speak lie beside the others, and are absent without a voice. Without codes
        of its own that end speech, the text is that of manifests from before they were known.
        """
        data = asdict(self)
        data |= data.pop("speech") or {}
        if "codec" in data and not data["codec"]["more_ends"]:
            del data["codec"]["more_ends"]
        return {key: data[key] for key in _JSON_ORDER if key in data}

    @staticmethod
    def from_json(data: Any) -> ModelDims:
        """Inverts `to_json`. Raises `ValueError` if a value has another type or range."""
        dims = build(ModelDims, nested(data), closed=True)
        assert isinstance(dims, ModelDims)
        return dims


_JSON_ORDER = (
    "audio", "vision", "thinker", "talker", "dit", "ecapa", "vocoder", "tokens", "codec",
)  # fmt: skip


def nested(data: Any) -> Any:
    """Returns the JSON form of `ModelDims` as its fields are, with the parts that speak in one."""
    if not isinstance(data, Mapping):
        return data
    speaking = {field.name for field in fields(SpeechDims)}
    speech = {key: value for key, value in data.items() if key in speaking}
    rest = {key: value for key, value in data.items() if key not in speaking}
    if "speech" in rest:  # the name of the field, which no JSON form has
        raise ValueError("dims.speech: unknown")
    return {**rest, "speech": speech or None}


def no_voice(where: object = None, got: object = None) -> OmnijetError:
    """Returns the error of whoever asks a model without a voice for sound."""
    return OmnijetError(
        "this bundle has no voice",
        where=where,
        expected="Talker, DiT and vocoder, which turn text into speech",
        got=got,
        fix="ask for text only (--no-speech, or speech=False in Python), or export the whole "
        "checkpoint without --no-speech",
    )
