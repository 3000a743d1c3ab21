"""The `config.json` of Omnijet-nano: keys and quirks of the published 3B with small numbers."""

from __future__ import annotations

from typing import Any

from omnijet.export.synthetic.presets import config_nano

HIDDEN = 128  # the Thinker's width, to which the encoders project
VOICES = {"Ethan": 0, "Chelsie": 2}  # name -> its opening id, counted from special id 20


def config() -> dict[str, Any]:
    """Returns a new `config.json`."""
    made = config_nano()
    thinker, talker = made["thinker_config"], made["talker_config"]
    thinker["text_config"].update(
        hidden_size=HIDDEN, intermediate_size=384, num_hidden_layers=5,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    # time gets half of the frequencies: 4 of 16, the published proportion, are too few to
    # distinguish successive seconds at a rope_theta of a million
    thinker["text_config"]["rope_scaling"]["mrope_section"] = [8, 4, 4]
    thinker["audio_config"].update(
        d_model=128, encoder_attention_heads=4, encoder_ffn_dim=384, encoder_layers=3,
        num_hidden_layers=3, output_dim=HIDDEN,
    )  # fmt: skip
    thinker["vision_config"].update(
        depth=4, hidden_size=96, embed_dim=96, num_heads=4, intermediate_size=192,
        fullatt_block_indexes=[1, 3], out_hidden_size=HIDDEN,
    )  # fmt: skip
    talker.update(
        hidden_size=128, embedding_size=HIDDEN, intermediate_size=384, num_hidden_layers=5,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32,
    )  # fmt: skip
    talker["rope_scaling"]["mrope_section"] = [8, 8, 0]
    made["token2wav_config"]["dit_config"].update(
        hidden_size=128, dim=128, num_hidden_layers=8, depth=8, num_attention_heads=4, heads=4,
        head_dim=32, emb_dim=64, look_ahead_layers=[3], look_backward_layers=[0, 6],
        enc_channels=[64, 64, 64, 64, 192], enc_dim=64,
        enc_attention_channels=32, enc_se_channels=32,
    )  # fmt: skip
    made["token2wav_config"]["bigvgan_config"].update(
        upsample_initial_channel=128, upsample_rates=[5, 4, 4, 3],
        upsample_kernel_sizes=[11, 8, 8, 7],
        resblock_kernel_sizes=[3, 7], resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]],
    )  # fmt: skip
    return made
