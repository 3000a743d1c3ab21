"""Pictures and clips of a wished size, and those that must be made smaller."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from transformers import Qwen2VLImageProcessor

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.image import image_patches
from omnijet.runtime.media.sizing import Ceiling, Sizing
from omnijet.runtime.media.video import load_video
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.fitting import shrunk
from omnijet.runtime.prompt.medium import Medium, picture_input
from omnijet.runtime.prompt.messages import Video, parse_messages
from omnijet.runtime.prompt.places import MediumShape
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options

GOLDEN = Path(__file__).parents[2] / "golden" / "preprocessor_config.json"
CONFIG = json.loads(GOLDEN.read_text())
PREPROCESSING = Preprocessing.from_preprocessor_config(CONFIG)
CELL = PREPROCESSING.factor**2
CLIP = Path(__file__).parents[2] / "media" / "clip.mp4"


def picture(width: int, height: int, seed: int = 0) -> PillowImage.Image:
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return PillowImage.fromarray(small).resize((width, height))


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def messages(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "what is this"}]}]


# -- wishes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "limits"),
    [
        ({"max_pixels": 50_000}, {"max_pixels": 50_000}),
        ({"min_pixels": 500_000}, {"min_pixels": 500_000}),
        ({"min_pixels": 100_000, "max_pixels": 200_000}, None),
        ({"max_pixels": 10**9}, {}),
        ({"min_pixels": 1}, {}),
    ],
)
def test_pixels_are_those_of_the_reference(wish: dict, limits: dict | None) -> None:
    limits = wish if limits is None else limits
    for size in ((640, 480), (97, 301), (1500, 700)):
        image = picture(*size)
        reference = Qwen2VLImageProcessor(**{**CONFIG, **limits})
        wanted = reference(images=[image], return_tensors="np")
        patches, grid = image_patches(image, PREPROCESSING, sizing=Sizing(**wish))
        assert grid == tuple(wanted["image_grid_thw"][0])
        np.testing.assert_array_equal(patches, wanted["pixel_values"])


def test_a_size_that_is_wished_is_rounded_to_cells() -> None:
    sizing = Sizing(resized_height=100, resized_width=225)
    _, grid = image_patches(picture(640, 480), PREPROCESSING, sizing=sizing)
    assert grid == (1, 112 // 14, 224 // 14)


def test_the_wishes_of_a_part_go_before_those_of_all() -> None:
    own = Sizing(max_pixels=1000, nframes=4)
    both = own.over(Sizing(max_pixels=5, fps=1.0, max_frames=7))
    assert both == Sizing(max_pixels=1000, nframes=4, max_frames=7)


def test_faults_of_wishes_are_listed() -> None:
    with pytest.raises(OmnijetError) as caught:
        parse_messages(
            messages(
                {"type": "image", "image": picture(9, 9), "max_pixel": 5},
                {"type": "image", "image": picture(9, 9), "nframes": 4},
                {"type": "image", "image": picture(9, 9), "resized_height": 4},
                {"type": "video", "video": frames(2, 9, 9), "fps": 0, "nframes": 2.5},
                {"type": "video", "video": frames(2, 9, 9), "fps": 10**400},
                {"type": "video", "video": frames(2, 9, 9), "video_start": 5, "video_end": 1},
                {"type": "video", "video": frames(2, 9, 9), "fps": 2, "nframes": 4},
                {"type": "audio", "audio": np.zeros(9, np.float32), "fps": 2},
            )
        )
    got = str(caught.value)
    for words in (
        "unknown key 'max_pixel'; did you mean 'max_pixels'?",
        "part 2: unknown key 'nframes'",
        "resized_height: expected resized_width beside it",
        "fps: expected a positive number, got 0",
        "nframes: expected a whole number from 1, got 2.5",
        "fps: expected a positive number, got 1000000",
        "video_start: expected at most video_end 1",
        "nframes: expected either nframes or fps",
        "part 8: unknown key 'fps'",
    ):
        assert words in got, words


def test_none_is_no_wish() -> None:
    (message,) = parse_messages(messages({"type": "video", "video": frames(2, 9, 9), "fps": None}))
    part = message.parts[0]
    assert isinstance(part, Video) and part.sizing == Sizing()


def test_options_are_checked() -> None:
    given = {"max_pixels": 0, "fps": float("nan"), "max_frames": "4", "strict_size": 1}
    with pytest.raises(OmnijetError) as caught:
        Options.of(**given)
    assert all(name in str(caught.value) for name in given)


# -- what the machine takes ------------------------------------------------------------


@pytest.mark.parametrize("size", [(4032, 3024), (1920, 1080), (100, 15_000), (56, 56)])
@pytest.mark.parametrize("cells", [4, 128, 2000])
def test_a_picture_fits_the_engine(
    size: tuple[int, int], cells: int, caplog: pytest.LogCaptureFixture
) -> None:
    ceiling = Ceiling(cells * CELL, 10**12, "OPTION gives more")
    image = PillowImage.new("RGB", size)
    _, (_, height, width) = image_patches(image, PREPROCESSING, "it", ceiling=ceiling)
    assert height * width <= 4 * cells
    natural = image_patches(image, PREPROCESSING)[1] if size != (4032, 3024) else (1, 216, 288)
    told = [record.getMessage() for record in caplog.records]
    if natural[1] * natural[2] > 4 * cells:
        assert len(told) == 1 and f"{width * 14} x {height * 14} pixels" in told[0]
        assert "OPTION gives more" in told[0]
    else:
        assert not told


def test_frames_fit_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    ceiling = Ceiling(130 * CELL, 10**12, "OPTION gives more")
    video = load_video(frames(4, 1080, 1920), PREPROCESSING, False, ceiling=ceiling)
    assert video.frames.shape[1] * video.frames.shape[2] <= 130 * CELL
    assert len(caplog.records) == 1
    unlike = load_video(CLIP, PREPROCESSING, False, ceiling=Ceiling(None, 10**12, ""))
    same = load_video(CLIP, PREPROCESSING, False)
    np.testing.assert_array_equal(unlike.frames, same.frames)


@pytest.mark.parametrize(("tokens", "steps"), [(900, 3), (399, 3), (300, 2), (130, 1)])
def test_a_clip_has_smaller_frames_first_and_then_fewer(tokens: int, steps: int) -> None:
    shown = frames(6, 560, 560)
    seen = picture_input(shown, PREPROCESSING)
    medium = Medium(MediumShape((3, 20, 20), 1.0), seen)
    made = shrunk(medium, tokens, PREPROCESSING)
    assert made.seen is not None and made.shape.grid is not None
    assert made.shape.grid[0] == steps
    count = made.seen.fingerprints.size
    assert count == np.prod(made.shape.grid) and tokens * 0.7 < count <= tokens


def test_a_conversation_is_made_to_fit_its_context(
    nano: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    two = messages(
        {"type": "image", "image": picture(640, 480)}, {"type": "image", "image": picture(600, 600)}
    )
    limited = {"speech": False, "max_text_tokens": 2, "seed": 1}
    with Omni(Model(Bundle.open(nano[1]), OrtBackend(1), 400)) as omni:
        with caplog.at_level(logging.WARNING):
            reply = omni.generate(two, **limited)
        assert 200 < reply.prompt_tokens <= 300
        told = [record.getMessage() for record in caplog.records]
        assert sum("made smaller to fit the context" in words for words in told) == 1
        with pytest.raises(OmnijetError, match="does not fit"):
            omni.generate(two, strict_size=True, **limited)
        small = omni.generate(two, max_pixels=50_000, **limited)
        assert small.prompt_tokens < 160
        with pytest.raises(OmnijetError, match="does not fit"):
            omni.generate([{"role": "user", "content": "word " * 500}], **limited)
