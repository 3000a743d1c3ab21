"""The published configurations of 3B and 7B, and a tiny one with distinct widths."""

from __future__ import annotations

from typing import Any

from omnijet.export.synthetic.presets import TOKENS, config_3b, config_7b

__all__ = ["config_3b", "config_7b", "small_config"]


def small_config() -> dict[str, Any]:
    """Returns a tiny configuration in which all widths differ, so that tests notice a mix-up."""
    config = config_7b()
    thinker, talker = config["thinker_config"], config["talker_config"]
    audio, vision, text = (thinker[f"{k}_config"] for k in ("audio", "vision", "text"))
    dit, vocoder = (config["token2wav_config"][f"{k}_config"] for k in ("dit", "bigvgan"))
    audio.update(d_model=48, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=80)
    audio.update(num_mel_bins=20, output_dim=56)
    vision.update(hidden_size=32, depth=2, num_heads=4, intermediate_size=36, out_hidden_size=56)
    vision.update(patch_size=4, window_size=16, in_channels=3)
    text.update(hidden_size=56, num_hidden_layers=3, num_attention_heads=7, head_dim=16)
    text.update(num_key_value_heads=1, intermediate_size=72, vocab_size=90)
    text["rope_scaling"]["mrope_section"] = [2, 3, 3]
    talker.update(hidden_size=40, num_hidden_layers=2, num_attention_heads=6, head_dim=12)
    talker.update(num_key_value_heads=2, intermediate_size=44, embedding_size=56)
    talker["rope_scaling"]["mrope_section"] = [2, 2, 2]
    dit.update(hidden_size=60, num_hidden_layers=2, num_attention_heads=3, head_dim=8, ff_mult=3)
    dit.update(emb_dim=22, num_embeds=30, mel_dim=18, enc_emb_dim=14, enc_dim=10)
    dit.update(enc_channels=[12, 12, 12, 24], enc_kernel_sizes=[5, 3, 7, 1])
    dit.update(enc_dilations=[1, 2, 3, 1], enc_res2net_scale=3, enc_se_channels=9)
    dit.update(enc_attention_channels=11, dim=60, depth=2, heads=3)
    vocoder.update(mel_dim=18, upsample_initial_channel=16, upsample_rates=[5, 2])
    vocoder.update(upsample_kernel_sizes=[9, 4], resblock_kernel_sizes=[3, 5])
    vocoder.update(resblock_dilation_sizes=[[1, 2, 3], [1, 3, 5]])
    ids = [key for key in TOKENS if key.endswith(("_id", "_index"))]
    for number, key in enumerate(ids):
        thinker[key] = talker[key] = 60 + number
    thinker.update(eos_token_id=1, pad_token_id=2)
    talker.update(tts_text_pad_token_id=80, tts_text_start_token_id=81, tts_text_end_token_id=82)
    talker.update(tts_codec_pad_token_id=30, tts_codec_start_token_id=31)
    talker.update(tts_codec_end_token_id=32, tts_codec_mask_token_id=34, vocab_size=40)
    return config
