"""The stage in which the vision encoder learns colours, shapes and counts.

    python -m omnijet.nano.training.sight

It classifies pictures and frames of clips, at the size that the loader gives them, through
small heads that are discarded afterwards.
"""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniVisionEncoderConfig,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniVisionEncoder

from omnijet.export.synthetic.checkpoint import PREPROCESSOR
from omnijet.nano.config import config
from omnijet.nano.training.stage import Losses, Plan, stage_parser, train
from omnijet.nano.training.towers import encode_pictures
from omnijet.nano.world.clips import SIZE as CLIP_SIZE
from omnijet.nano.world.pictures import draw_scene
from omnijet.nano.world.words import COLOURS, SHAPES
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.media.image import image_patches

PLAN = Plan("sight", steps=3400, rate=2e-3, warmup=100)
PICTURES, FRAMES = 40, 8  # per batch; frames have eight times as many patches
FRAME_SIZE = (448, 224)  # the loader enlarges the 160 x 80 of a clip to this
FRAME_STEPS = 5  # every fifth step trains on frames
PREPROCESSING = Preprocessing.from_preprocessor_config(PREPROCESSOR)


class Viewer(nn.Module):
    """The vision encoder with heads over the mean of its cells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        net_config = Qwen2_5OmniVisionEncoderConfig(**config()["thinker_config"]["vision_config"])
        net_config._attn_implementation = "sdpa"
        self.tower = Qwen2_5OmniVisionEncoder(net_config)
        self.mix = nn.Linear(net_config.out_hidden_size, 128)
        self.heads = nn.Linear(128, len(COLOURS) + len(SHAPES) + 4)

    def forward(self, patches: Tensor, height: int, width: int) -> Tensor:
        seen = encode_pictures(self.tower, patches, height, width)
        logits: Tensor = self.heads(gelu(self.mix(seen)).mean(1))
        return logits


def patches_of(image: Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns the patches f32[patches, patch width] of a picture and (rows, columns)."""
    patches, (_, height, width) = image_patches(image, PREPROCESSING, "picture")
    return patches.reshape(-1, patches.shape[-1]), (height, width)


def enlarged(frame: Image.Image) -> Image.Image:
    """Enlarges a frame of a clip as the loader does."""
    return frame.resize(FRAME_SIZE, Image.Resampling.BICUBIC)


def main() -> None:
    args = stage_parser(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    net = Viewer()

    def step(number: int) -> Losses:
        rng = Random(number)
        frames = number % FRAME_STEPS == 0
        images, labels = [], []
        for _ in range(FRAMES if frames else PICTURES):
            colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
            count = 1 if frames else rng.choice((1, 2, 3, 3, 4, 4, 4))  # more shapes are harder
            image = draw_scene(count, colour, shape, rng, *((CLIP_SIZE,) if frames else ()))
            images.append(patches_of(enlarged(image) if frames else image))
            labels.append((COLOURS.index(colour), SHAPES.index(shape), count - 1))
        patches = torch.from_numpy(np.stack([part for part, _ in images]))
        logits = net(patches, *images[0][1])
        wanted = torch.tensor(labels)
        parts = logits.split([len(COLOURS), len(SHAPES), 4], -1)
        losses = [cross_entropy(part, wanted[:, i]) for i, part in enumerate(parts)]
        right = torch.stack([part.argmax(-1) for part in parts], -1) == wanted
        return {"loss": torch.stack(losses).sum(), "exact": right.all(-1).float().mean()}

    train(PLAN, args.folder, net, step)


if __name__ == "__main__":
    main()
