"""Tests of the named configurations: they read without a warning and have the stated sizes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.tensor_layout import checkpoint_layout
from omnijet.export.synthetic.presets import PRESETS, preset
from omnijet.runtime.bundle.contract import graph_contracts
from omnijet.runtime.bundle.dims import ModelDims

PARAMETERS = {  # smallest and largest allowed count
    "nano": (1e6, 1e7),
    "nano-7b": (1e6, 1e7),
    "middle": (3e8, 5e8),
    "slim": (1e9, 2.5e9),
    "3b": (5e9, 6e9),
    "7b": (1e10, 1.1e10),
}


def dims_of(name: str) -> ModelDims:
    return read_dims(preset(name), None, name)


def parameters(dims: ModelDims, part: str = "") -> int:
    return sum(
        entry.numel
        for key, entry in checkpoint_layout(dims).items()
        if key.startswith(part) and not entry.buffer
    )


@pytest.mark.parametrize("name", PRESETS)
def test_reads_without_a_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    dims = dims_of(name)
    assert not caplog.records
    least, most = PARAMETERS[name]
    assert least <= parameters(dims) <= most
    for contract in graph_contracts(dims, "f32").values():
        assert contract.inputs and contract.outputs


@pytest.mark.parametrize("name", PRESETS)
def test_a_fresh_one_each_time(name: str) -> None:
    before = json.dumps(preset(name))
    preset(name)["thinker_config"]["text_config"]["rope_scaling"]["mrope_section"].clear()
    assert json.dumps(preset(name)) == before


def test_special_ids_of_a_smaller_vocabulary_keep_their_order() -> None:
    real = dims_of("3b").tokens
    for name in ("nano", "middle"):
        small = dims_of(name).tokens
        shift = real.pad - small.pad
        for key in ("audio", "image", "video", "audio_bos", "audio_eos", "vision_bos"):
            assert getattr(real, key) - getattr(small, key) == shift, key
        assert small.tts_pad < small.tts_bos < small.tts_eos < dims_of(name).thinker.vocab


def test_middle_has_the_heads_and_the_clock_of_the_3b() -> None:
    middle, real = dims_of("middle"), dims_of("3b")
    for mine, theirs in ((middle.thinker, real.thinker), (middle.talker, real.talker)):
        assert (mine.head_dim, mine.mrope_section) == (theirs.head_dim, theirs.mrope_section)
    assert middle.audio.head_dim == real.audio.head_dim
    assert middle.vision.head_dim == real.vision.head_dim
    for key in ("head_dim", "layers", "block", "repeats", "look_ahead_layers", "look_back_layers"):
        assert getattr(middle.dit, key) == getattr(real.dit, key), key
    assert middle.vocoder.hop == real.vocoder.hop


def test_no_part_of_middle_is_out_of_proportion() -> None:
    """Every part has between a twentieth and a sixth of the 3B's parameters."""
    middle, real = dims_of("middle"), dims_of("3b")
    parts = (
        "thinker.model.layers", "thinker.audio_tower", "thinker.visual", "talker",
        "token2wav.code2wav_dit_model", "token2wav.code2wav_bigvgan_model",
    )  # fmt: skip
    for part in parts:
        assert 1 / 20 < parameters(middle, part) / parameters(real, part) < 1 / 6, part


def test_the_slim_one_speaks_like_the_3b() -> None:
    slim, real = dims_of("slim"), dims_of("3b")
    assert (slim.dit, slim.vocoder, slim.codec) == (real.dit, real.vocoder, real.codec)
    assert slim.talker == replace(real.talker, embed_width=slim.thinker.hidden)
    assert (slim.thinker.hidden, slim.thinker.layers) == (1024, 12)
