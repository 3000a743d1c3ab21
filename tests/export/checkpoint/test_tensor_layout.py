"""Compares the layout with the reference's state dict and with published totals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.tensor_layout import TensorLayout, checkpoint_layout
from tests.export.published import config_3b, config_7b, small_config

SIZES = {"3B": config_3b, "7B": config_7b}


def layout_of(config: dict[str, Any]) -> dict[str, TensorLayout]:
    return checkpoint_layout(read_dims(config, None, "config.json"))


def reference(config: dict[str, Any]) -> torch.nn.Module:
    from transformers.models.qwen2_5_omni import configuration_qwen2_5_omni as configuration
    from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling

    with torch.device("meta"):
        return modeling.Qwen2_5OmniForConditionalGeneration(
            configuration.Qwen2_5OmniConfig(**copy.deepcopy(config))
        )


@pytest.mark.parametrize("config", [*SIZES.values(), small_config], ids=[*SIZES, "small"])
def test_names_and_shapes_are_those_of_the_reference(config: Callable[[], dict[str, Any]]) -> None:
    expected = {k: tuple(v.shape) for k, v in reference(config()).state_dict().items()}
    assert {key: tensor.shape for key, tensor in layout_of(config()).items()} == expected


@pytest.mark.parametrize(
    ("size", "totals"),
    [
        ("3B", (637_676_544, 668_684_288, 3_085_938_688, 311_164_928, 384_604_928, 5_537_120_640)),
        ("7B", (639_647_232, 676_550_144, 7_070_619_136, 544_997_376, 1_351_360_256,
                10_732_225_408)),
    ],
)  # fmt: skip
def test_published_parameter_counts(size: str, totals: tuple[int, ...]) -> None:
    layout = layout_of(SIZES[size]())

    def count(prefix: str) -> int:
        parameters = (t.numel for k, t in layout.items() if k.startswith(prefix) and not t.buffer)
        return sum(parameters)

    parts = ("thinker.audio_tower", "thinker.visual", "thinker.model", "thinker.lm_head", "talker")
    assert (*(count(part) for part in parts), count("")) == totals
    assert count("token2wav.code2wav_dit_model") == 333_607_760
    assert count("token2wav.code2wav_bigvgan_model") == 115_443_504


def test_published_tensor_counts_of_7b() -> None:
    layout = layout_of(config_7b())

    def count(prefix: str) -> int:
        return sum(key.startswith(prefix) for key in layout)

    assert len(layout) == 2448
    assert count("thinker.visual") == 518 and count("thinker.audio_tower") == 489
    assert count("thinker.model") == 338 and count("talker") == 293
    assert count("token2wav.code2wav_dit_model") == 360
    assert count("token2wav.code2wav_bigvgan_model") == 449


def test_published_bytes_of_7b() -> None:
    """The five published shards have this size without their headers and a buffer of 128 bytes."""
    layout = layout_of(config_7b())
    widths = {"bf16": 2, "f32": 4}
    assert sum(t.numel * widths[t.dtype] for t in layout.values()) == 22_362_553_344 + 128


def test_dtypes_and_unused() -> None:
    layout = layout_of(config_3b())
    for key, tensor in layout.items():
        assert tensor.dtype == ("f32" if key.startswith("token2wav.") else "bf16")
    unused = [key for key, tensor in layout.items() if not tensor.used]
    assert unused == ["thinker.audio_tower.audio_bos_eos_token.weight"]
    buffers = [key for key, tensor in layout.items() if tensor.buffer]
    assert buffers == ["token2wav.code2wav_dit_model.rotary_embed.inv_freq"]
