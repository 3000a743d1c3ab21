"""Reads a checkpoint's `config.json` into the model's dimensions.

Absent keys take the defaults of the upstream configuration classes
(`configuration_qwen2_5_omni.py`). The published files rely on these defaults: their `dit_config`
names neither the block size nor the layers that look back and ahead. Values that the graphs
do not implement are refused.
"""

from __future__ import annotations

from typing import Any

from omnijet.export.checkpoint.config_section import MOST_WINDOW, Section, shown
from omnijet.export.checkpoint.config_token2wav import read_dit, read_ecapa, read_vocoder
from omnijet.export.checkpoint.packing import Packing, read_packing
from omnijet.runtime.bundle.dims import (
    AudioEncoderDims,
    CodecIds,
    DecoderDims,
    ModelDims,
    SpeechDims,
    TokenIds,
    VisionEncoderDims,
)
from omnijet.runtime.bundle.dims_rules import model_faults
from omnijet.runtime.errors import OmnijetError

MODEL_TYPE = "qwen2_5_omni"
_ENDOFTEXT, _IM_END = 151643, 151645
_CODEC_END = 8294


def read_dims(
    config: dict[str, Any],
    generation_config: dict[str, Any] | None,
    where: str,
    *,
    speech: bool = True,
) -> ModelDims:
    """Reads every dimension that a graph or the runtime depends on.

    Args:
        config: The parsed `config.json`.
        generation_config: The parsed `generation_config.json`; None if there is none.
        where: The file's name for messages.
        speech: False leaves out the parts that speak. They are left out, too, if the
            configuration has `enable_audio_output: false`.

    Raises:
        OmnijetError: Lists every value that is not supported or contradicts another.
    """
    faults: list[str] = []
    root = Section(config, "", faults)
    model_type = root.raw("model_type")
    if model_type != MODEL_TYPE:
        raise OmnijetError(
            "this is not a Qwen2.5-Omni checkpoint",
            where=where,
            expected=f"model_type {MODEL_TYPE!r}",
            got=f"model_type {shown(model_type)}",
            fix="pass a checkpoint such as Qwen/Qwen2.5-Omni-3B",
        )
    root.only("enable_audio_output", (True, False))
    speaks = speech and root.raw("enable_audio_output") in (None, True)
    dims = _model(root, Section(generation_config, "generation_config", faults), speaks)
    if not faults:
        faults += model_faults(dims)
    if faults:
        count = f"{len(faults)} fault" + "s" * (len(faults) > 1)
        raise OmnijetError(
            f"the configuration describes a model that cannot be exported ({count})",
            where=where,
            got="\n            ".join(faults),
            fix="use the config.json that was published with the weights",
        )
    root.warn_near_misses()
    return dims


def packing_of(config: dict[str, Any]) -> Packing | None:
    """Returns how the layers of a checkpoint are packed; None if they are float.

    Args:
        config: A `config.json` in which `read_dims` found no fault.
    """
    root = Section(config, "", [])
    return read_packing(root, root.child("thinker_config"))


def _model(root: Section, generation: Section, speaks: bool) -> ModelDims:
    thinker = root.child("thinker_config")
    # without a voice, the ids of the Talker's text are read, and faults of its section are none
    talker = root.child("talker_config") if speaks else Section(root.raw("talker_config"), "", [])
    text = thinker.child("text_config")
    audio, vision = thinker.child("audio_config"), thinker.child("vision_config")
    read_packing(root, thinker)  # records its faults; `packing_of` returns the packing
    for section in (*((talker,) if speaks else ()), text, audio, vision):
        if section.raw("quantization_config") is not None:
            section.fault("quantization_config", "none: full-precision weights", "one")
    for section in (thinker, talker, text, audio, vision):
        kind = section.raw("model_type")
        if kind is not None and not str(kind).startswith(MODEL_TYPE):
            section.fault("model_type", f"one of {MODEL_TYPE}", kind)
    dims = ModelDims(
        audio=_audio(audio),
        vision=_vision(vision),
        thinker=_thinker(text),
        tokens=_tokens(thinker, text, talker, generation),
        speech=_speech(talker, root.child("token2wav_config")) if speaks else None,
    )
    width = dims.thinker.hidden
    if text.valid:
        fits = f"the Thinker's hidden_size {width}"
        audio.require(dims.audio.out == width, "output_dim", fits, dims.audio.out)
        vision.require(dims.vision.out == width, "out_hidden_size", fits, dims.vision.out)
        if dims.speech is not None:
            embed = dims.speech.talker.embed_width
            talker.require(embed == width, "embedding_size", fits, embed)
        _ids_below(thinker, dims.tokens, dims.thinker.vocab, speaks)
    merge = talker.integer("spatial_merge_size", default=2)
    fits = f"the vision encoder's {dims.vision.merge}"
    talker.require(merge == dims.vision.merge, "spatial_merge_size", fits, merge)
    return dims


def _speech(talker: Section, token2wav: Section) -> SpeechDims:
    dit, vocoder = token2wav.child("dit_config"), token2wav.child("bigvgan_config")
    if token2wav.raw("quantization_config") is not None:
        token2wav.fault("quantization_config", "none: full-precision weights", "one")
    dims = SpeechDims(
        talker=_talker(talker),
        dit=read_dit(dit),
        ecapa=read_ecapa(dit),
        vocoder=read_vocoder(vocoder),
        codec=_codec(talker),
    )
    mel = dims.vocoder.mel
    vocoder.require(mel == dims.dit.mel, "mel_dim", f"the DiT's mel_dim {dims.dit.mel}", mel)
    return dims


def _heads_divide(section: Section, key: str, hidden: int, heads: int) -> None:
    section.require(hidden % heads == 0, key, f"a multiple of {heads} heads", hidden)


def _audio(section: Section) -> AudioEncoderDims:
    section.only("activation_function", ("gelu",))
    section.only("scale_embedding", (False,))
    dims = AudioEncoderDims(
        n_mels=section.integer("num_mel_bins", default=128),
        hidden=section.integer("d_model", default=1280, least=4),
        layers=section.layers("encoder_layers", default=32),
        heads=section.integer("encoder_attention_heads", default=20),
        ffn=section.integer("encoder_ffn_dim", default=5120),
        n_window=section.integer("n_window", default=100, most=MOST_WINDOW),
        max_positions=section.integer("max_source_positions", default=1500),
        out=section.integer("output_dim", default=3584),
    )
    _heads_divide(section, "d_model", dims.hidden, dims.heads)
    # the position table has a sine half and a cosine half
    section.require(dims.hidden % 2 == 0, "d_model", "an even number", dims.hidden)
    # the n_window positions of a chunk are pooled in pairs, which must not cross chunks
    section.require(dims.n_window % 2 == 0, "n_window", "an even number", dims.n_window)
    most = f"at most max_source_positions {dims.max_positions}"
    section.require(dims.n_window <= dims.max_positions, "n_window", most, dims.n_window)
    return dims


def _vision(section: Section) -> VisionEncoderDims:
    section.only("hidden_act", ("silu", "swish"))
    dims = VisionEncoderDims(
        hidden=section.integer("hidden_size", default=3584),
        layers=section.layers("depth", default=32),
        heads=section.integer("num_heads", default=16),
        ffn=section.integer("intermediate_size", default=3420),
        in_channels=section.integer("in_channels", default=3),
        patch=section.integer("patch_size", default=14),
        temporal_patch=section.integer("temporal_patch_size", default=2),
        merge=section.integer("spatial_merge_size", default=2),
        window=section.integer("window_size", default=112, most=MOST_WINDOW),
        full_attention_layers=section.integers("fullatt_block_indexes", (7, 15, 23, 31), least=0),
        out=section.integer("out_hidden_size", default=3584),
    )
    _heads_divide(section, "hidden_size", dims.hidden, dims.heads)
    # row and column angles each cover a quarter of a head, twice
    head = f"{dims.heads} heads of a multiple of 4"
    section.require(dims.head_dim % 4 == 0, "hidden_size", head, dims.hidden)
    cell = dims.patch * dims.merge
    fits = f"a multiple of patch_size x spatial_merge_size = {cell}"
    section.require(dims.window % cell == 0, "window_size", fits, dims.window)
    return dims


def _thinker(section: Section) -> DecoderDims:
    hidden = section.integer("hidden_size", default=3584)
    heads = section.integer("num_attention_heads", default=28)
    if section.raw("head_dim") is None:
        _heads_divide(section, "hidden_size", hidden, heads)
    return _decoder(
        section,
        hidden=hidden,
        heads=heads,
        head_dim=section.integer("head_dim", default=max(2, hidden // heads)),
        vocab=section.integer("vocab_size", default=152064),
        embed_width=hidden,
        mrope_section=(16, 24, 24),
    )


def _talker(section: Section) -> DecoderDims:
    return _decoder(
        section,
        hidden=section.integer("hidden_size", default=3584),
        heads=section.integer("num_attention_heads", default=28),
        head_dim=section.integer("head_dim", default=128),
        vocab=section.integer("vocab_size", default=8448),
        embed_width=section.integer("embedding_size", default=3584),
        mrope_section=None,
    )


def _decoder(
    section: Section,
    *,
    hidden: int,
    heads: int,
    head_dim: int,
    vocab: int,
    embed_width: int,
    mrope_section: tuple[int, int, int] | None,
) -> DecoderDims:
    section.only("hidden_act", ("silu", "swish"))
    section.only("use_sliding_window", (False,))
    section.only("tie_word_embeddings", (False,))
    section.only("partial_rotary_factor", (1,))
    layer_types = section.raw("layer_types") or []
    if any(kind != "full_attention" for kind in layer_types):
        section.fault("layer_types", "full_attention in every layer", layer_types)
    # upstream, null means as many as heads and an absent key means 4
    kv_default = heads if section.is_null("num_key_value_heads") else 4
    kv_heads = section.integer("num_key_value_heads", default=kv_default)
    fits = f"a multiple of num_key_value_heads {kv_heads}"
    section.require(heads % kv_heads == 0, "num_attention_heads", fits, heads)
    section.require(head_dim % 2 == 0, "head_dim", "an even number", head_dim)
    theta, sections = _rope(section, head_dim, mrope_section)
    return DecoderDims(
        hidden=hidden,
        layers=section.layers("num_hidden_layers", default=28),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=section.integer("intermediate_size", default=18944),
        vocab=vocab,
        embed_width=embed_width,
        rope_theta=theta,
        mrope_section=sections,
        rms_eps=section.number("rms_norm_eps", 1e-6),
        max_positions=section.integer("max_position_embeddings", default=32768),
    )


def _rope(
    section: Section, head_dim: int, default: tuple[int, int, int] | None
) -> tuple[float, tuple[int, int, int]]:
    """Reads base and sections from `rope_scaling` or, in newer files, `rope_parameters`."""
    theta = section.number("rope_theta", 1e6)
    key = "rope_parameters" if section.raw("rope_parameters") is not None else "rope_scaling"
    section.raw("rope_scaling")
    fallback = default or (0, 0, 0)
    if section.raw(key) is None:
        if default is None:
            section.fault(key, "an object with mrope_section", None)
            return theta, fallback
        rope = section.child(key)
        values = default
    else:
        rope = section.child(key)
        theta = rope.number("rope_theta", theta)
        rope.only("rope_type", ("default", "mrope"))
        rope.only("type", ("default", "mrope"))
        rope.only("mrope_interleaved", (False,))
        rope.only("partial_rotary_factor", (1,))
        found = rope.integers("mrope_section", (), least=0)
        rope.require(len(found) == 3, "mrope_section", "3 whole numbers", list(found) or None)
        values = (found[0], found[1], found[2]) if len(found) == 3 else fallback
    if section.valid:
        fits = f"a sum of head_dim / 2 = {head_dim // 2}"
        rope.require(sum(values) == head_dim // 2, "mrope_section", fits, list(values))
    return theta, values


def _tokens(thinker: Section, text: Section, talker: Section, generation: Section) -> TokenIds:
    def shared(default: int, *keys: str, least: int = 0) -> int:
        """Reads a value that Thinker and Talker both have and must agree on."""
        theirs = talker.integer(*keys, default=default, least=least)
        ours = thinker.integer(*keys, default=theirs, least=least)
        if talker.raw(*keys) is not None:
            talker.require(theirs == ours, keys[0], f"thinker_config's {ours}", theirs)
        return ours

    pad = generation.integer("pad_token_id", default=_ENDOFTEXT, least=0)
    return TokenIds(
        audio=shared(151646, "audio_token_index", "audio_token_id"),
        image=shared(151655, "image_token_index", "image_token_id"),
        video=shared(151656, "video_token_index", "video_token_id"),
        audio_bos=shared(151647, "audio_start_token_id"),
        audio_eos=shared(151648, "audio_end_token_id"),
        vision_bos=shared(151652, "vision_start_token_id"),
        vision_eos=shared(151653, "vision_end_token_id"),
        pad=thinker.integer("pad_token_id", default=pad, least=0),
        eos=_eos(generation, thinker, text),
        tts_pad=talker.integer("tts_text_pad_token_id", default=151859, least=0),
        tts_bos=talker.integer("tts_text_start_token_id", default=151860, least=0),
        tts_eos=talker.integer("tts_text_end_token_id", default=151861, least=0),
        position_ids_per_second=shared(25, "position_id_per_seconds", least=1),
        seconds_per_chunk=shared(2, "seconds_per_chunk", least=1),
    )


def _eos(*sections: Section) -> tuple[int, ...]:
    """Returns the ids that end a reply, from the first section that names any."""
    for section in sections:
        value = section.raw("eos_token_id")
        if isinstance(value, list | tuple) and value:
            return section.integers("eos_token_id", (), least=0)
        if value is not None:
            return (section.integer("eos_token_id", default=_IM_END, least=0),)
    return (_IM_END, _ENDOFTEXT)


def _ids_below(section: Section, tokens: TokenIds, vocab: int, speaks: bool) -> None:
    ids = {
        "audio_token_index": tokens.audio,
        "image_token_index": tokens.image,
        "video_token_index": tokens.video,
        "audio_start_token_id": tokens.audio_bos,
        "audio_end_token_id": tokens.audio_eos,
        "vision_start_token_id": tokens.vision_bos,
        "vision_end_token_id": tokens.vision_eos,
        "pad_token_id": tokens.pad,
        "eos_token_id": max(tokens.eos, default=0),
    }
    if speaks:
        ids["tts_text_pad_token_id"] = tokens.tts_pad
        ids["tts_text_start_token_id"] = tokens.tts_bos
        ids["tts_text_end_token_id"] = tokens.tts_eos
    outside = {key: value for key, value in ids.items() if value >= vocab}
    section.require(not outside, "text_config.vocab_size", "more than every token id", outside)


def _codec(section: Section) -> CodecIds:
    pad = section.integer("tts_codec_pad_token_id", default=8292, least=0)
    eos, *more = _end_codes(section, pad)
    ids = CodecIds(
        pad=pad,
        bos=section.integer("tts_codec_start_token_id", default=8293, least=0),
        eos=eos,
        mask=section.integer("tts_codec_mask_token_id", default=8296, least=0),
        more_ends=tuple(more),
    )
    vocab = section.integer("vocab_size", default=8448)
    most = max(ids.pad, ids.bos, ids.mask, *ids.ends)
    section.require(most < vocab, "vocab_size", f"more than the codec id {most}", vocab)
    return ids


def _end_codes(section: Section, pad: int) -> tuple[int, ...]:
    """Returns the codes that end speech, each once, without `pad` unless it is the only one."""
    key = "tts_codec_end_token_id"
    if not isinstance(section.raw(key), list | tuple):
        return (section.integer(key, default=_CODEC_END, least=0),)
    codes = tuple(dict.fromkeys(section.integers(key, (_CODEC_END,), least=0)))
    section.require(bool(codes), key, "at least one code", [])
    return tuple(code for code in codes if code != pad) or (pad,)
