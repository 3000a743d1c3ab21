"""The reference: transformers 4.57.6 on the same checkpoint, prompt and noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import Qwen2_5OmniForConditionalGeneration

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.prompt.layout import Prompt

NOISE_FRAMES = 30_000  # drawn by the reference
MEL_FRAMES = 30_000  # its feature extractor pads to 300 s


@dataclass(frozen=True, slots=True)
class ReferenceReply:
    """The reference's reply to a prompt."""

    text_ids: list[int]
    codes: list[int]
    mel: Array  # f32[80, frames]
    wave: Array  # f32[samples]


def load_reference(folder: Path) -> Qwen2_5OmniForConditionalGeneration:
    """Loads the whole model in f32."""
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def model_inputs(prompt: Prompt) -> dict[str, Any]:
    """Returns a prompt in the form of the reference's processor."""
    ids = torch.from_numpy(prompt.input_ids)[None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if prompt.images:
        inputs["pixel_values"] = _patches(prompt.images)
        inputs["image_grid_thw"] = torch.tensor([item.grid for item in prompt.images])
    if prompt.videos:
        inputs["pixel_values_videos"] = _patches(prompt.videos)
        inputs["video_grid_thw"] = torch.tensor([item.grid for item in prompt.videos])
        inputs["video_second_per_grid"] = torch.tensor(prompt.seconds_per_grid)
    if prompt.sounds:
        mels = [sound.content for sound in prompt.sounds]
        features = torch.zeros(len(mels), mels[0].shape[0], MEL_FRAMES)
        mask = torch.zeros(len(mels), MEL_FRAMES, dtype=torch.long)
        for row, mel in enumerate(mels):
            features[row, :, : mel.shape[1]] = torch.from_numpy(np.array(mel))
            mask[row, : mel.shape[1]] = 1
        inputs["input_features"], inputs["feature_attention_mask"] = features, mask
    inputs["use_audio_in_video"] = prompt.use_audio_in_video
    return inputs


def _patches(items: Any) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([item.content.patches() for item in items]))


def reference_reply(
    model: Qwen2_5OmniForConditionalGeneration,
    prompt: Prompt,
    *,
    voice: str,
    max_text: int,
    max_codes: int,
    seed: int,
    **options: Any,
) -> ReferenceReply:
    """Returns greedy text and codes, and mel and wave on our runtime's noise for `seed`.

    Args:
        model: The reference.
        prompt: The prompt.
        voice: The speaker.
        max_text: The most text tokens.
        max_codes: The most codec tokens.
        seed: The seed of the noise.
        options: Further options of the reference's `generate`.
    """
    seen: dict[str, Any] = {}
    sample = model.token2wav.code2wav_dit_model.sample

    def spy(cond: Any, ref_mel: Any, code: torch.Tensor, **options: Any) -> torch.Tensor:
        seen["codes"] = code[0].tolist()
        seen["mel"] = sample(cond, ref_mel, code, **options)
        return seen["mel"]

    prompt_length = prompt.input_ids.size
    with mock.patch.object(model.token2wav.code2wav_dit_model, "sample", spy), our_noise(seed):
        ids, wave = model.generate(
            **model_inputs(prompt),
            speaker=voice,
            thinker_max_new_tokens=max_text,
            talker_max_new_tokens=max_codes,
            talker_do_sample=False,
            thinker_do_sample=False,
            **options,
        )
    return ReferenceReply(
        ids[0, prompt_length:].tolist(),
        seen["codes"],
        seen["mel"][0].numpy(),
        wave.reshape(-1).numpy(),
    )


@contextmanager
def our_noise(seed: int) -> Iterator[None]:
    """Makes the reference's DiT draw the noise that our runtime draws."""

    def randn(shape: Any, **options: Any) -> torch.Tensor:
        assert list(shape)[1] == NOISE_FRAMES
        noise = np.random.default_rng(seed).standard_normal(list(shape)[1:], dtype=np.float32)
        return torch.from_numpy(noise)[None]

    with mock.patch.object(torch, "randn", randn):
        yield
