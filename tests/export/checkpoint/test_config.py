"""Tests of reading `config.json`: published files, older and newer keys, and refusals."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from omnijet.export.checkpoint.config import read_dims
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError
from tests.export.published import config_3b, config_7b

TEXT = "thinker_config.text_config"
AUDIO = "thinker_config.audio_config"
VISION = "thinker_config.vision_config"
DIT = "token2wav_config.dit_config"
VOCODER = "token2wav_config.bigvgan_config"


def read(config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelDims:
    return read_dims(config, generation, "config.json")


def changed(path: str, value: Any, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns a configuration (7B by default) with one value changed; `...` removes the key."""
    config = copy.deepcopy(config_7b() if config is None else config)
    *sections, key = path.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    return config


def refusal(config: dict[str, Any], generation: dict[str, Any] | None = None) -> str:
    with pytest.raises(OmnijetError) as caught:
        read(config, generation)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "thinker", "talker"),
    [
        (config_3b(), (2048, 36, 16, 2, 128, 11008, 151936), (896, 24, 14, 2, 64, 4864, 8448)),
        (config_7b(), (3584, 28, 28, 4, 128, 18944, 152064), (896, 24, 12, 4, 128, 18944, 8448)),
    ],
    ids=["3B", "7B"],
)
def test_published(
    config: dict[str, Any],
    thinker: tuple[int, ...],
    talker: tuple[int, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    dims = read(config, {"eos_token_id": [151645, 151643], "pad_token_id": 151643})
    for decoder, expected in ((dims.thinker, thinker), (dims.talker, talker)):
        found = (decoder.hidden, decoder.layers, decoder.heads, decoder.kv_heads)
        assert (*found, decoder.head_dim, decoder.ffn, decoder.vocab) == expected
        assert decoder.embed_width == thinker[0]
    assert dims.audio.out == dims.vision.out == thinker[0]
    assert dims.tokens.eos == (151645, 151643)
    assert (dims.tokens.tts_pad, dims.tokens.tts_bos, dims.tokens.tts_eos) == (
        151859, 151860, 151861,
    )  # fmt: skip
    assert dims.codec.mask == 8296
    assert (dims.dit.block, dims.dit.look_ahead_layers, dims.dit.look_back_layers) == (
        24, (10,), (0, 20),
    )  # fmt: skip
    assert dims.vocoder.hop == 240
    assert not caplog.records
    assert ModelDims.from_json(json.loads(json.dumps(dims.to_json()))) == dims


def test_mrope_sections_differ_between_the_sizes() -> None:
    assert read(config_3b()).talker.mrope_section == (16, 16, 0)
    assert read(config_7b()).talker.mrope_section == (16, 24, 24)
    assert read(config_3b()).thinker.mrope_section == (16, 24, 24)


def test_absent_keys_take_the_class_defaults_of_the_reference() -> None:
    """The reference's classes read the same values from a sparse file."""
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniConfig

    sparse = {
        "model_type": "qwen2_5_omni",
        "talker_config": {"rope_scaling": {"mrope_section": [16, 24, 24], "type": "default"}},
    }
    full = json.loads(Qwen2_5OmniConfig(**copy.deepcopy(sparse)).to_json_string(use_diff=False))
    assert full["thinker_config"]["text_config"]["hidden_size"] == 3584
    # including the ids that generic configurations write as null or with their own default
    ours, theirs = read(sparse), read(full)
    assert ours == theirs
    assert ours.talker.layers == 28 and ours.vision.hidden == 3584


def test_saved_by_a_later_release() -> None:
    """`rope_parameters` replaces `rope_theta` and `rope_scaling`."""
    config = config_3b()
    for section in (config["thinker_config"]["text_config"], config["talker_config"]):
        rope = section.pop("rope_scaling")
        section.pop("rope_theta")
        section["rope_parameters"] = {**rope, "rope_theta": 500000.0}
    dims = read(config)
    assert dims.thinker.rope_theta == dims.talker.rope_theta == 500000.0
    assert dims.talker.mrope_section == (16, 16, 0)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ({"eos_token_id": [151645, 151643]}, (151645, 151643)),
        ({"eos_token_id": 151645}, (151645,)),
        ({}, (151645,)),  # thinker_config's
        (None, (151645,)),
    ],
)
def test_eos(generation: dict[str, Any] | None, expected: tuple[int, ...]) -> None:
    assert read(config_7b(), generation).tokens.eos == expected


def test_eos_of_the_model_family_when_no_file_names_it() -> None:
    config = changed("thinker_config.eos_token_id", ...)
    assert read(config).tokens.eos == (151645, 151643)


def test_vision_ids_fall_back_to_the_talkers() -> None:
    config = changed("thinker_config.vision_start_token_id", ...)
    config["talker_config"]["vision_start_token_id"] = 77
    assert read(config).tokens.vision_bos == 77


def test_other_names_of_the_placeholder_ids() -> None:
    config = config_7b()
    for section in (config["thinker_config"], config["talker_config"]):
        section["audio_token_id"] = section.pop("audio_token_index")
    assert read(config).tokens.audio == 151646


def test_kv_heads_null_means_as_many_as_heads() -> None:
    assert read(changed(f"{TEXT}.num_key_value_heads", None)).thinker.kv_heads == 28
    assert read(changed(f"{TEXT}.num_key_value_heads", ...)).thinker.kv_heads == 4


@pytest.mark.parametrize("model_type", ["qwen3_omni_moe", "qwen2_5_omni_thinker", None])
def test_foreign_model(model_type: str | None) -> None:
    message = refusal(changed("model_type", model_type))
    assert "not a Qwen2.5-Omni checkpoint" in message and repr(model_type) in message


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("enable_audio_output", "no", "True or False"),
        (f"{TEXT}.hidden_act", "gelu", "'silu' or 'swish', got 'gelu'"),
        ("talker_config.hidden_act", "relu", "got 'relu'"),
        ("thinker_config.vision_config.hidden_act", "quick_gelu", "got 'quick_gelu'"),
        ("thinker_config.audio_config.activation_function", "gelu_new", "got 'gelu_new'"),
        ("thinker_config.audio_config.scale_embedding", True, "got True"),
        ("thinker_config.audio_config.n_window", 99, "an even number, got 99"),
        ("thinker_config.audio_config.n_window", 2000, "max_source_positions 1500"),
        ("thinker_config.audio_config.d_model", 1290, "a multiple of 20 heads"),
        ("thinker_config.audio_config.output_dim", 2048, "the Thinker's hidden_size 3584"),
        ("thinker_config.vision_config.out_hidden_size", 2048, "hidden_size 3584"),
        ("thinker_config.vision_config.window_size", 100, "= 28"),
        ("thinker_config.vision_config.num_heads", 15, "a multiple of 15 heads"),
        ("thinker_config.vision_config.num_heads", 128, "multiple of 4"),
        ("thinker_config.vision_config.model_type", "qwen2_5_vl", "got 'qwen2_5_vl'"),
        (f"{TEXT}.use_sliding_window", True, "got True"),
        (f"{TEXT}.layer_types", ["sliding_attention"] * 28, "full_attention in every layer"),
        (f"{TEXT}.tie_word_embeddings", True, "got True"),
        (f"{TEXT}.partial_rotary_factor", 0.5, "got 0.5"),
        (f"{TEXT}.num_key_value_heads", 5, "a multiple of num_key_value_heads 5"),
        (f"{TEXT}.num_attention_heads", 27, "a multiple of 27 heads"),
        (f"{TEXT}.vocab_size", 1000, "more than every token id"),
        (f"{TEXT}.hidden_size", "3584", "a whole number from 1 to 16777216, got '3584'"),
        (f"{TEXT}.hidden_size", True, "got True"),
        (f"{TEXT}.num_hidden_layers", 0, "got 0"),
        (f"{TEXT}.num_hidden_layers", 10**9, "from 1 to 1024, got 1000000000"),
        (f"{TEXT}.hidden_size", 2**40, "from 1 to 16777216"),
        (f"{TEXT}.rms_norm_eps", -1, "a positive number"),
        (f"{TEXT}.rope_theta", float("nan"), "a positive number"),
        (f"{TEXT}.rope_scaling.rope_type", "yarn", "got 'yarn'"),
        (f"{TEXT}.rope_scaling.mrope_interleaved", True, "got True"),
        (f"{TEXT}.rope_scaling.mrope_section", [16, 24, 20], "head_dim / 2 = 64"),
        (f"{TEXT}.rope_scaling.mrope_section", [32, 32], "3 whole numbers"),
        (f"{TEXT}.rope_scaling.mrope_section", ..., "3 whole numbers, got None"),
        ("talker_config.rope_scaling", ..., "an object with mrope_section"),
        ("talker_config.head_dim", 64, "head_dim / 2 = 32"),
        ("talker_config.embedding_size", 2048, "the Thinker's hidden_size 3584, got 2048"),
        ("talker_config.spatial_merge_size", 1, "the vision encoder's 2"),
        ("talker_config.audio_token_index", 5, "thinker_config's 151646"),
        ("talker_config.position_id_per_seconds", 13, "thinker_config's 25"),
        ("talker_config.vocab_size", 8192, "the codec id 8296"),
        ("quantization_config", {"bits": 4}, "full-precision"),
        (f"{TEXT}.quantization_config", {"bits": 4}, "full-precision"),
        (f"{DIT}.block_size", 25, "a multiple of repeats 2"),
        (f"{DIT}.look_ahead_layers", "10", "a list of whole numbers"),
        (f"{DIT}.enc_channels", [256, 256, 768], "as many as"),
        (f"{DIT}.enc_channels", [256, 256, 256, 256, 512], "a last width of 768"),
        (f"{DIT}.enc_channels", [128, 256, 256, 256, 768], "equal widths"),
        (f"{DIT}.enc_res2net_scale", 7, "divisible"),
        (f"{VOCODER}.mel_dim", 100, "the DiT's mel_dim 80"),
        (f"{VOCODER}.upsample_kernel_sizes", [10, 7, 4, 4, 4, 4], "rate + 2 n"),
        (f"{VOCODER}.upsample_initial_channel", 1500, "2**stages = 64"),
        (f"{VOCODER}.resblock_dilation_sizes", [[1, 3]] * 3, "3 dilations"),
        (f"{VOCODER}.resblock_dilation_sizes", 5, "a list of lists"),
        (f"{VOCODER}.resblock_dilation_sizes", [[float("inf")] * 3] * 3, "a list of lists"),
        (f"{VOCODER}.resblock_kernel_sizes", [3, 7, 10], "odd sizes"),
        ("thinker_config", [1], "an object"),
    ],
)
def test_refused(path: str, value: Any, expected: str) -> None:
    message = refusal(changed(path, value))
    assert expected in message
    section = path.rpartition(".")[0] or path
    assert section.split(".")[0] in message


@pytest.mark.parametrize("size", [config_3b, config_7b])
def test_without_a_voice_the_parts_that_speak_are_not_read(
    size: Callable[[], dict[str, Any]],
) -> None:
    whole = read(size())
    config = changed("enable_audio_output", False, size())
    config["talker_config"] |= {"hidden_act": "gelu", "num_hidden_layers": "many"}
    config["token2wav_config"] = 3
    dims = read(config)
    assert not dims.has_voice
    assert (dims.audio, dims.vision, dims.thinker) == (whole.audio, whole.vision, whole.thinker)
    assert dims.tokens == whole.tokens
    with pytest.raises(OmnijetError, match="this bundle has no voice"):
        dims.codec  # noqa: B018
    assert ModelDims.from_json(json.loads(json.dumps(dims.to_json()))) == dims
    assert read_dims(changed("token2wav_config", 3), None, "c", speech=False).tokens == whole.tokens


def test_one_wrong_value_is_one_fault() -> None:
    assert "(1 fault)" in refusal(changed(f"{TEXT}.hidden_size", "3584"))
    assert "(1 fault)" in refusal(changed(f"{TEXT}.hidden_act", "gelu"))


def test_all_faults_are_listed_at_once() -> None:
    config = changed(f"{TEXT}.hidden_act", "gelu")
    config = changed("talker_config.use_sliding_window", True, config)
    config = changed(f"{DIT}.block_size", 25, config)
    config = changed("thinker_config.audio_config.n_window", 99, config)
    message = refusal(config, {"eos_token_id": "end"})
    assert "(5 faults)" in message
    for name in ("hidden_act", "use_sliding_window", "block_size", "n_window", "eos_token_id"):
        assert name in message


def test_near_miss_is_named(caplog: pytest.LogCaptureFixture) -> None:
    config = changed(f"{DIT}.blok_size", 48)
    assert read(config).dit.block == 24
    assert "dit_config.blok_size is not used; did you mean block_size?" in caplog.text


def test_unknown_keys_are_harmless(caplog: pytest.LogCaptureFixture) -> None:
    read(changed("thinker_config.audio_config.favourite_colour", "blue"))
    assert not caplog.records


def test_legacy_dit_keys_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The reference does not know these keys either."""
    with caplog.at_level(logging.WARNING):
        assert read(changed(f"{DIT}.depth", 4)).dit.layers == 22
    assert "depth is not used; the model has 22" in caplog.text
    assert read(changed(f"{DIT}.num_hidden_layers", 6)).dit.layers == 6


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        (8294, (8292, 8294)),
        (..., (8292, 8294)),
        ([8294], (8292, 8294)),
        ([8292, 8294], (8292, 8294)),
        ([8294, 8295, 8294], (8292, 8294, 8295)),
        ([8292], (8292, 8292)),
    ],
)
def test_codes_that_end_speech(given: Any, ends: tuple[int, ...]) -> None:
    dims = read(changed("talker_config.tts_codec_end_token_id", given))
    assert dims.codec.ends == ends
    data = json.loads(json.dumps(dims.to_json()))
    assert ModelDims.from_json(data) == dims
    # one end code is written as it always was
    assert ("more_ends" in data["codec"]) == (len(ends) > 2)


@pytest.mark.parametrize("given", [[], [8448], ["8294"], [-1], "8294", 8448, [[8294]]])
def test_unusable_codes_that_end_speech(given: Any) -> None:
    assert "talker_config." in refusal(changed("talker_config.tts_codec_end_token_id", given))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{TEXT}.num_hidden_layers", 10**9),
        (f"{TEXT}.num_attention_heads", 10**9),
        (f"{TEXT}.vocab_size", 10**12),
        (f"{TEXT}.hidden_size", 10**30),
        (f"{TEXT}.rope_scaling", {"mrope_section": [1] * 500_000}),
        (f"{TEXT}.layer_types", ["x" * 10] * 500_000),
        (f"{VISION}.depth", 10**9),
        (f"{VISION}.window_size", 56 * 10**6),
        (f"{VISION}.fullatt_block_indexes", [0] * 700_000),
        (f"{AUDIO}.n_window", 10**7),
        (f"{DIT}.block_size", 10**7),
        (f"{DIT}.enc_channels", list(range(1, 700_000))),
        (f"{VOCODER}.upsample_rates", [2] * 700_000),
        (f"{VOCODER}.resblock_dilation_sizes", [[1, 3, 10**30]] * 3),
        (f"{VOCODER}.resblock_dilation_sizes", [[1] * 700_000] * 3),
        ("x" * 1000, {"y": 1}),
        ("model_type", "x" * 1_000_000),
    ],
    ids=range(17),
)  # fmt: skip
def test_what_would_fill_the_memory_is_refused_at_once(path: str, value: Any) -> None:
    began = time.process_time()
    data = changed(path, value)
    try:
        read_dims(data, None, "config.json")
    except OmnijetError as error:
        assert len(str(error)) < 4000
    else:
        assert path[0] == "x"  # an unknown key is no fault
    assert time.process_time() - began < 10
