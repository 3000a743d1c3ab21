"""The model's facts: dimensions and special ids, as frozen values.

They come from a checkpoint's `config.json` at export
(`omnijet.export.checkpoint.config`) and travel to the device in the manifest. Deployment limits
(context length, picture size) live elsewhere, because they are choices and not facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError

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

    n_mels: int
    hidden: int
    layers: int
    heads: int
    ffn: int
    n_window: int  # half a chunk, in mel frames
    max_positions: int
    out: int

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

    hidden: int
    layers: int
    heads: int
    ffn: int
    in_channels: int
    patch: int  # pixels
    temporal_patch: int  # frames
    merge: int  # patches per side of a merged cell
    window: int  # pixels per side
    full_attention_layers: tuple[int, ...]
    out: int

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

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    embed_width: int  # width of the rows fed in: the Thinker's hidden, for both decoders
    rope_theta: float
    mrope_section: tuple[int, int, int]
    rms_eps: float
    max_positions: int


@dataclass(frozen=True, slots=True)
class DitDims:
    """`token2wav.code2wav_dit_model`: codec tokens to mel by flow matching."""

    hidden: int
    layers: int
    heads: int
    head_dim: int
    ff_mult: int
    mel: int
    codec_embed: int
    codec_rows: int  # rows of the codec table (num_embeds + 1)
    repeats: int  # mel frames per codec token
    block: int  # mel frames
    look_ahead_layers: tuple[int, ...]
    look_back_layers: tuple[int, ...]
    speaker_cond: int  # width of spk_dict's `cond`
    speaker_embed: int  # width of the ECAPA embedding


@dataclass(frozen=True, slots=True)
class EcapaDims:
    """`...input_embed.spk_encoder`, which runs at export only."""

    mel: int
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    dilations: tuple[int, ...]
    attention_channels: int
    res2net_scale: int
    se_channels: int
    out: int


@dataclass(frozen=True, slots=True)
class VocoderDims:
    """`token2wav.code2wav_bigvgan_model`: mel to waveform."""

    mel: int
    channels: int
    resblock_kernels: tuple[int, ...]
    resblock_dilations: tuple[tuple[int, ...], ...]
    rates: tuple[int, ...]
    kernels: tuple[int, ...]

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

    audio: int
    image: int
    video: int
    audio_bos: int
    audio_eos: int
    vision_bos: int
    vision_eos: int
    pad: int
    eos: tuple[int, ...]
    tts_pad: int
    tts_bos: int
    tts_eos: int
    position_ids_per_second: int  # 25: one time id per 40 ms
    seconds_per_chunk: int  # 2: interleaving of a clip's picture and sound


@dataclass(frozen=True, slots=True)
class CodecIds:
    """Special ids of the codec vocabulary.

    Attributes:
        more_ends: codes that end speech beside `pad` and `eos`.
    """

    pad: int
    bos: int
    eos: int
    mask: int
    more_ends: tuple[int, ...] = ()

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
        """Inverts `to_json`. Raises `ValueError` if the data have another shape."""
        dims = build(ModelDims, nested(data))
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
