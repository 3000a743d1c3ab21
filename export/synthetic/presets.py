"""Named configurations: 3B and 7B as published, and smaller ones that share their quirks.

The published ones keep their legacy keys and leave out the keys that their files leave out.
"""

from __future__ import annotations

from typing import Any

TOKENS = {
    "audio_end_token_id": 151648,
    "audio_start_token_id": 151647,
    "audio_token_index": 151646,
    "image_token_index": 151655,
    "position_id_per_seconds": 25,
    "seconds_per_chunk": 2,
    "video_token_index": 151656,
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}


def config_7b() -> dict[str, Any]:
    return _config(
        text={
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_attention_heads": 28,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
        },
        talker={
            "head_dim": 128,
            "intermediate_size": 18944,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
            "rope_scaling": _rope(16, 24, 24),
        },
    )


def config_3b() -> dict[str, Any]:
    return _config(
        text={
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_attention_heads": 16,
            "num_hidden_layers": 36,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
        },
        talker={
            "head_dim": 64,
            "intermediate_size": 4864,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "rope_scaling": _rope(16, 16, 0),
        },
    )


def _rope(*sections: int) -> dict[str, Any]:
    return {"mrope_section": list(sections), "rope_type": "default", "type": "default"}


def _config(text: dict[str, Any], talker: dict[str, Any]) -> dict[str, Any]:
    width = text["hidden_size"]
    decoder = {
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "use_cache": True,
        "use_sliding_window": False,
    }
    return {
        "architectures": ["Qwen2_5OmniModel"],
        "enable_audio_output": True,
        "enable_talker": True,
        "model_type": "qwen2_5_omni",
        "talker_config": {
            **decoder,
            **TOKENS,
            "embedding_size": width,
            "hidden_size": 896,
            "init_std": 0.02,
            "model_type": "qwen2_5_omni_talker",
            "num_hidden_layers": 24,
            "spatial_merge_size": 2,
            "torch_dtype": "bfloat16",
            "tts_codec_end_token_id": 8294,
            "tts_codec_mask_token_id": 8296,
            "tts_codec_pad_token_id": 8292,
            "tts_codec_start_token_id": 8293,
            "tts_text_end_token_id": 151861,
            "tts_text_pad_token_id": 151859,
            "tts_text_start_token_id": 151860,
            "vocab_size": 8448,
            **talker,
        },
        "thinker_config": {
            **TOKENS,
            "audio_config": {
                "activation_dropout": 0.0,
                "activation_function": "gelu",
                "d_model": 1280,
                "encoder_attention_heads": 20,
                "encoder_ffn_dim": 5120,
                "encoder_layerdrop": 0.0,
                "encoder_layers": 32,
                "max_source_positions": 1500,
                "model_type": "qwen2_5_omni_audio_encoder",
                "n_window": 100,
                "num_hidden_layers": 32,
                "num_mel_bins": 128,
                "output_dim": width,
                "scale_embedding": False,
                "tie_word_embeddings": True,
            },
            "bos_token_id": 151644,
            "eos_token_id": 151645,
            "ignore_index": -100,
            "init_std": 0.02,
            "model_type": "qwen2_5_omni_thinker",
            "pad_token_id": 151643,
            "text_config": {
                **decoder,
                "model_type": "qwen2_5_omni_text",
                "rope_scaling": _rope(16, 24, 24),
                "tie_word_embeddings": False,
                **text,
            },
            "user_token_id": 872,
            "vision_config": {
                "depth": 32,
                "embed_dim": 1280,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "hidden_act": "silu",
                "hidden_size": 1280,
                "in_channels": 3,
                "in_chans": 3,
                "intermediate_size": 3420,
                "model_type": "qwen2_5_omni_vision_encoder",
                "num_heads": 16,
                "out_hidden_size": width,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "temporal_patch_size": 2,
                "tokens_per_second": 25,
                "window_size": 112,
            },
            "vision_token_id": 151654,
        },
        "token2wav_config": {
            "bigvgan_config": {
                "mel_dim": 80,
                "model_type": "qwen2_5_omni_bigvgan",
                "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
                "resblock_kernel_sizes": [3, 7, 11],
                "upsample_initial_channel": 1536,
                "upsample_kernel_sizes": [11, 7, 4, 4, 4, 4],
                "upsample_rates": [5, 3, 2, 2, 2, 2],
                "use_bias_at_final": False,
            },
            "dit_config": {
                "depth": 22,
                "dim": 1024,
                "dropout": 0.1,
                "emb_dim": 512,
                "enc_attention_channels": 64,
                "enc_channels": [256, 256, 256, 256, 768],
                "enc_dilations": [1, 2, 3, 4, 1],
                "enc_dim": 128,
                "enc_emb_dim": 192,
                "enc_kernel_sizes": [5, 3, 3, 3, 1],
                "enc_lin_neurons": 192,
                "enc_res2net_scale": 2,
                "enc_se_channels": 64,
                "ff_mult": 2,
                "head_dim": 64,
                "heads": 16,
                "mel_dim": 80,
                "model_type": "qwen2_5_omni_dit",
                "num_embeds": 8193,
                "repeats": 2,
            },
            "model_type": "qwen2_5_omni_token2wav",
        },
    }


def config_nano() -> dict[str, Any]:
    """Returns a tiny configuration with the 3B's proportions, at a thousandth of its size."""
    config = config_3b()
    _shrink(config, hidden=64, vision_layers=4)
    thinker, talker = config["thinker_config"], config["talker_config"]
    thinker["text_config"].update(
        num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, intermediate_size=176
    )
    thinker["text_config"]["rope_scaling"]["mrope_section"] = [2, 3, 3]
    talker.update(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, head_dim=16)
    talker.update(num_key_value_heads=1, intermediate_size=128)
    talker["rope_scaling"]["mrope_section"] = [4, 4, 0]
    return config


def config_nano_7b() -> dict[str, Any]:
    """Returns a tiny configuration with the 7B's quirks.

    The Talker's heads together are wider than its hidden size, its frequency bands differ
    from the Thinker's, and three query heads share one key head.
    """
    config = config_7b()
    _shrink(config, hidden=96, vision_layers=5)
    thinker, talker = config["thinker_config"], config["talker_config"]
    thinker["text_config"].update(
        num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=208
    )
    thinker["text_config"]["rope_scaling"]["mrope_section"] = [2, 3, 3]
    thinker["audio_config"].update(d_model=80, encoder_attention_heads=5, encoder_layers=3)
    thinker["vision_config"].update(hidden_size=80, embed_dim=80, num_heads=5)
    talker.update(hidden_size=64, num_hidden_layers=4, num_attention_heads=6, head_dim=24)
    talker.update(num_key_value_heads=2, intermediate_size=160)
    talker["rope_scaling"]["mrope_section"] = [3, 4, 5]
    dit = config["token2wav_config"]["dit_config"]
    dit.update(hidden_size=48, dim=48, num_attention_heads=3, heads=3, emb_dim=20)
    return config


def config_middle() -> dict[str, Any]:
    """Returns a smaller 3B with 0.4 G parameters, for benchmarks on two cores.

    It is large enough that arithmetic rather than the host determines the time of a reply.
    Every part has three eighths of the 3B's width and heads of the same width. Thinker,
    encoders and Talker have half of the layers, the DiT has all.
    """
    config = config_3b()
    hidden = 768
    thinker, talker = config["thinker_config"], config["talker_config"]
    _renumber(config, first=_MIDDLE_IDS, vocab=_MIDDLE_VOCAB)
    thinker["text_config"].update(
        hidden_size=hidden, num_hidden_layers=18, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=4128,
    )  # fmt: skip
    _halve_encoders(config, hidden)
    talker.update(
        embedding_size=hidden, hidden_size=384, num_hidden_layers=12, num_attention_heads=6,
        intermediate_size=1824,
    )  # fmt: skip
    # like the published files, this names no layers that look back or ahead
    config["token2wav_config"]["dit_config"].update(
        hidden_size=384, num_hidden_layers=22, num_attention_heads=6, dim=384, heads=6, emb_dim=192,
        enc_channels=[96, 96, 96, 96, 288], enc_dim=48, enc_attention_channels=24,
        enc_se_channels=24,
    )  # fmt: skip
    config["token2wav_config"]["bigvgan_config"].update(upsample_initial_channel=576)
    return config


def config_slim() -> dict[str, Any]:
    """Returns the 3B's Talker and speech below a Thinker of 1,024 x 12 and small encoders.

    With it the first sound is measured where the voice, not the Thinker, determines it.
    """
    config = config_3b()
    hidden = 1024
    thinker = config["thinker_config"]
    thinker["text_config"].update(
        hidden_size=hidden, num_hidden_layers=12, num_attention_heads=8, intermediate_size=5504
    )
    _halve_encoders(config, hidden)
    config["talker_config"].update(embedding_size=hidden)
    return config


PRESETS = {
    "nano": config_nano,
    "nano-7b": config_nano_7b,
    "middle": config_middle,
    "slim": config_slim,
    "3b": config_3b,
    "7b": config_7b,
}


def preset(name: str) -> dict[str, Any]:
    """Returns a new `config.json` by name."""
    return PRESETS[name]()


TINY_IDS = 1000
"""The number of text ids in the tiny vocabulary; special ids follow in the published order."""

_REAL_IDS = 151643
_TINY_VOCAB = 1024
_MIDDLE_IDS = 16_000
_MIDDLE_VOCAB = 16_384
_TINY_USER = 117
"""The id of "user" in the vocabulary that `omnijet.export.synthetic.tokenizer` trains."""


def _shrink(config: dict[str, Any], hidden: int, vision_layers: int) -> None:
    """Applies the changes that both tiny configurations share, in place."""
    thinker, talker = config["thinker_config"], config["talker_config"]
    _renumber(config, first=TINY_IDS, vocab=_TINY_VOCAB)
    talker.update(embedding_size=hidden)
    thinker["text_config"].update(hidden_size=hidden)
    thinker["audio_config"].update(
        d_model=64, encoder_attention_heads=4, encoder_ffn_dim=128, encoder_layers=2,
        num_hidden_layers=2, output_dim=hidden,
    )  # fmt: skip
    thinker["vision_config"].update(
        depth=vision_layers, hidden_size=64, embed_dim=64, num_heads=4, intermediate_size=100,
        fullatt_block_indexes=[1, vision_layers - 1], out_hidden_size=hidden,
    )  # fmt: skip
    config["token2wav_config"]["dit_config"].update(
        hidden_size=64, num_hidden_layers=6, num_attention_heads=4, head_dim=16, emb_dim=32,
        depth=6, dim=64, heads=4, look_ahead_layers=[2], look_backward_layers=[0, 4],
        enc_channels=[32, 32, 32, 32, 96], enc_dim=32,
        enc_attention_channels=16, enc_se_channels=16,
    )  # fmt: skip
    config["token2wav_config"]["bigvgan_config"].update(upsample_initial_channel=64)


def _halve_encoders(config: dict[str, Any], width: int) -> None:
    """Gives the encoders three eighths of their width and half of their layers, in place."""
    thinker = config["thinker_config"]
    thinker["audio_config"].update(
        d_model=512, encoder_attention_heads=8, encoder_ffn_dim=2048, encoder_layers=16,
        num_hidden_layers=16, output_dim=width,
    )  # fmt: skip
    thinker["vision_config"].update(
        depth=16, hidden_size=480, embed_dim=480, num_heads=6, intermediate_size=1284,
        fullatt_block_indexes=[3, 7, 11, 15], out_hidden_size=width,
    )  # fmt: skip


def _renumber(config: dict[str, Any], *, first: int, vocab: int) -> None:
    """Makes the text vocabulary smaller, in place.

    Special ids start at `first`, and the Talker's text ids follow; both keep the published
    order.
    """
    thinker, talker = config["thinker_config"], config["talker_config"]
    for section in (thinker, talker):
        for key, value in section.items():
            if isinstance(value, int) and _REAL_IDS <= value < _REAL_IDS + 16:
                section[key] = value - _REAL_IDS + first
    tts_keys = ("tts_text_pad_token_id", "tts_text_start_token_id", "tts_text_end_token_id")
    talker.update({key: first + 16 + number for number, key in enumerate(tts_keys)})
    thinker["user_token_id"] = _TINY_USER
    thinker["text_config"]["vocab_size"] = vocab
