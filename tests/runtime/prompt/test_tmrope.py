from __future__ import annotations

import json
import time
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.bundle.dims import audio_token_count
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.rope import decode_position
from omnijet.runtime.prompt.places import clip_layout, frame_times
from omnijet.runtime.prompt.tmrope import QWEN_TOKEN_IDS, tmrope_positions

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tmrope.json").read_text())
CASES = {case["name"]: case for case in GOLDEN["cases"]}
IDS = QWEN_TOKEN_IDS
CHUNK = IDS.position_ids_per_second * IDS.seconds_per_chunk


def positions_of(case: dict[str, Any], ids: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    names = ("image_grid_thw", "video_grid_thw", "audio_seqlens", "second_per_grids")
    media = {name: case[name] for name in (*names, "use_audio_in_video")}
    return tmrope_positions(ids, mask, **media)


@pytest.mark.parametrize("name", CASES)
def test_golden_prompt(name: str) -> None:
    case = CASES[name]
    mask = np.array(case["attention_mask"])
    positions, deltas = positions_of(case, case["input_ids"], mask)
    assert positions.dtype == deltas.dtype == np.int64
    np.testing.assert_array_equal(positions, case["position_ids"])
    np.testing.assert_array_equal(deltas, case["rope_deltas"])
    _check_decode(mask, deltas, case["decode_positions_first3"])


@pytest.mark.parametrize("name", CASES)
def test_golden_talker(name: str) -> None:
    case = CASES[name]
    talker = case["talker"]
    ids, mask = np.array(case["input_ids"]), np.array(case["attention_mask"])
    ids = np.hstack([ids, np.tile(talker["appended_ids"], (len(ids), 1))])
    mask = np.hstack([mask, np.ones((len(mask), 2), mask.dtype)])
    positions, deltas = positions_of(case, ids, mask)
    np.testing.assert_array_equal(positions[:, :, -4:], talker["position_ids_last4"])
    np.testing.assert_array_equal(deltas, talker["get_rope_index_delta"])
    _check_decode(mask, deltas, talker["decode_positions_first3"])


def _check_decode(mask: np.ndarray, deltas: np.ndarray, expected: list[list[int]]) -> None:
    for real, delta, row in zip(mask.sum(axis=1), deltas[:, 0], expected, strict=True):
        assert [decode_position(int(real) + k, int(delta)) for k in range(3)] == row


def test_ids_are_the_golden_ones() -> None:
    known = GOLDEN["token_ids"]
    assert (IDS.audio, IDS.image, IDS.video) == (known["AUDIO"], known["IMAGE"], known["VIDEO"])
    assert (IDS.vision_bos, IDS.vision_eos) == (known["vision_bos"], known["vision_eos"])
    assert (IDS.audio_bos, IDS.audio_eos) == (known["audio_bos"], known["audio_eos"])
    assert IDS.position_ids_per_second == GOLDEN["position_id_per_seconds"]
    assert IDS.seconds_per_chunk == GOLDEN["seconds_per_chunk"]


# --- random prompts against the reference


class Prompts:
    """A random batch: ids, mask and media, spelled token by token as a processor would."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.with_sound = bool(self.rng.integers(2))
        self.images: list[list[int]] = []
        self.clips: list[list[int]] = []
        self.sounds: list[int] = []
        self.seconds: list[float] = []
        rows = [self._row() for _ in range(self.rng.integers(1, 4))]
        width = max(len(row) for row in rows) + int(self.rng.integers(0, 3))
        left = bool(self.rng.integers(2))
        self.ids = np.full((len(rows), width), IDS.pad, np.int64)
        self.mask = np.zeros((len(rows), width), np.int64)
        for row, ids in enumerate(rows):
            place = slice(width - len(ids), width) if left else slice(0, len(ids))
            self.ids[row, place] = ids
            self.mask[row, place] = 1

    @property
    def media(self) -> dict[str, Any]:
        return {
            "image_grid_thw": self.images or None,
            "video_grid_thw": self.clips or None,
            "audio_seqlens": self.sounds or None,
            "second_per_grids": self.seconds or None,
            "use_audio_in_video": self.with_sound,
        }

    def _row(self) -> list[int]:
        ids: list[int] = []
        makers = [self._text, self._image, self._sound, self._clip]
        for maker in self.rng.choice(len(makers), size=self.rng.integers(1, 7)):
            ids += makers[maker]()
        return ids or [5]

    def _text(self) -> list[int]:
        return self.rng.integers(0, 1000, size=self.rng.integers(1, 9)).tolist()

    def _grid(self, frames: int) -> list[int]:
        return [frames, *(2 * self.rng.integers(1, 7, size=2)).tolist()]

    def _image(self) -> list[int]:
        self.images.append(self._grid(1))
        cells = int(np.prod(self.images[-1])) // 4
        return [IDS.vision_bos, *[IDS.image] * cells, IDS.vision_eos]

    def _sound(self) -> list[int]:
        self.sounds.append(int(self.rng.integers(3, 600)))
        return [IDS.audio_bos, *[IDS.audio] * audio_token_count(self.sounds[-1]), IDS.audio_eos]

    def _clip(self) -> list[int]:
        frames = int(self.rng.integers(1, 12))
        self.clips.append(self._grid(frames))
        # 0.36 differs between float32 and float64; 2.8 and more jump over chunk borders
        self.seconds.append(float(self.rng.choice([1.0, 0.5, 2 / 3, 2 / 3.3, 0.36, 2.8, 7.1])))
        cells = self.clips[-1][1] * self.clips[-1][2] // 4
        if not self.with_sound:
            return [IDS.vision_bos, *[IDS.video] * (frames * cells), IDS.vision_eos]
        self.sounds.append(int(self.rng.integers(3, 900)))
        times = frame_times(frames, self.seconds[-1], IDS.position_ids_per_second)
        sound = clip_layout(times, cells, audio_token_count(self.sounds[-1]), CHUNK)
        body = np.where(sound, IDS.audio, IDS.video).tolist()
        return [IDS.vision_bos, IDS.audio_bos, *body, IDS.audio_eos, IDS.vision_eos]


def reference_positions(prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
    torch = pytest.importorskip("torch")
    omni = pytest.importorskip("transformers.models.qwen2_5_omni.modeling_qwen2_5_omni")
    owner = omni.Qwen2_5OmniPreTrainedModelForConditionalGeneration
    model = SimpleNamespace(
        spatial_merge_size=2,
        config=SimpleNamespace(
            image_token_id=IDS.image,
            video_token_id=IDS.video,
            audio_token_id=IDS.audio,
            vision_start_token_id=IDS.vision_bos,
            audio_start_token_id=IDS.audio_bos,
            position_id_per_seconds=IDS.position_ids_per_second,
            seconds_per_chunk=IDS.seconds_per_chunk,
        ),
    )
    for name in ("get_llm_pos_ids_for_vision", "get_chunked_index"):
        setattr(model, name, MethodType(getattr(owner, name), model))
    media = prompts.media
    flag = media.pop("use_audio_in_video")
    tensors = {name: None if v is None else torch.tensor(v) for name, v in media.items()}
    positions, deltas = owner.get_rope_index(
        model,
        torch.from_numpy(prompts.ids),
        attention_mask=torch.from_numpy(prompts.mask),
        use_audio_in_video=flag,
        **tensors,
    )
    return positions.numpy(), deltas.numpy()


@pytest.mark.parametrize("seed", range(120))
def test_random_prompts_match_the_reference(seed: int) -> None:
    prompts = Prompts(seed)
    positions, deltas = tmrope_positions(prompts.ids, prompts.mask, **prompts.media)
    expected, expected_deltas = reference_positions(prompts)
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_array_equal(deltas, expected_deltas)


def test_random_prompts_cover_what_matters() -> None:
    batches = [Prompts(seed) for seed in range(120)]
    assert sum(bool(p.clips) and p.with_sound for p in batches) > 20
    assert sum(bool(p.clips) and not p.with_sound for p in batches) > 20
    assert sum(bool(p.images) and bool(p.sounds) for p in batches) > 20
    assert sum(bool(p.mask[:, 0].min() == 0) for p in batches) > 20
    assert sum(not p.clips and not p.images for p in batches) > 2


@pytest.mark.parametrize("seed", range(40))
def test_clip_layout_matches_the_reference_processor(seed: int) -> None:
    module = pytest.importorskip("transformers.models.qwen2_5_omni.processing_qwen2_5_omni")
    rng = np.random.default_rng(seed)
    frames, cells, sounds = (int(n) for n in rng.integers(1, (12, 9, 200)))
    seconds = float(rng.choice([1.0, 0.5, 2 / 3, 2.8, 7.1]))
    fractions = np.arange(frames) * seconds * IDS.position_ids_per_second
    owner = module.Qwen2_5OmniProcessor
    pictures = owner.get_chunked_index(None, np.repeat(fractions, cells), CHUNK)
    audio = owner.get_chunked_index(None, np.arange(sounds), CHUNK)
    expected: list[bool] = []
    for part in range(max(len(pictures), len(audio))):
        for is_sound, parts in ((False, pictures), (True, audio)):
            if part < len(parts):
                expected += [is_sound] * (parts[part][1] - parts[part][0])
    np.testing.assert_array_equal(clip_layout(fractions, cells, sounds, CHUNK), expected)


# --- what the reference cannot do


def test_a_silent_clip_beside_one_with_sound() -> None:
    silent = [IDS.vision_bos, *[IDS.video] * 4, IDS.vision_eos]
    loud = [IDS.vision_bos, IDS.audio_bos, *[IDS.video] * 4, *[IDS.audio] * 3]
    loud += [IDS.audio_eos, IDS.vision_eos]
    positions, deltas = tmrope_positions(
        [[7, *silent, 8, *loud, 9]],
        video_grid_thw=[[1, 4, 4], [1, 4, 4]],
        second_per_grids=[1.0, 1.0],
        audio_seqlens=[12],
        use_audio_in_video=True,
    )
    time_ids = [0, 1, 2, 2, 2, 2, 4, 5, 6, 6, 7, 7, 7, 7, 7, 8, 9, 10, 10, 11]
    assert positions[0, 0].tolist() == time_ids
    assert deltas.tolist() == [[12 - 20]]


def test_a_missing_mask_means_all_real() -> None:
    case = CASES["two_images_one_audio"]
    positions, _ = positions_of(case, case["input_ids"], None)
    np.testing.assert_array_equal(positions, case["position_ids"])
    assert tmrope_positions([[1, 2, 3]])[0][0].tolist() == [[0, 1, 2]]


IMAGE = [IDS.vision_bos, *[IDS.image] * 4, IDS.vision_eos]
SOUND = [IDS.audio_bos, *[IDS.audio] * 3, IDS.audio_eos]
LOUD = [IDS.vision_bos, IDS.audio_bos, IDS.video, *[IDS.audio] * 3, IDS.audio_eos, IDS.vision_eos]
GRID = [[1, 4, 4]]
CLIP = {"video_grid_thw": [[1, 2, 2]], "second_per_grids": [1.0], "audio_seqlens": [12]}


@pytest.mark.parametrize(
    ("ids", "media", "words"),
    [
        ([1, *IMAGE], {}, ("image 1", "image_grid_thw", "row 0, token 2")),
        ([*IMAGE, *IMAGE], {"image_grid_thw": GRID}, ("image 2", "row 0, token 7", "1 entries")),
        (IMAGE, {"image_grid_thw": GRID * 2}, ("more entries", "image_grid_thw")),
        (IMAGE[:-2], {"image_grid_thw": GRID}, ("image 1", "4 x 151655", "3 x 151655")),
        (IMAGE[:-1], {"image_grid_thw": GRID}, ("image 1", "end marker")),
        ([IMAGE[1], *IMAGE[1:]], {"image_grid_thw": GRID}, ("begin marker", "row 0, token 0")),
        (IMAGE, {"image_grid_thw": [[1, 4, 6]]}, ("6 x 151655", "4 x 151655")),
        (IMAGE, {"image_grid_thw": [[0, 4, 4]]}, ("empty", "image_grid_thw[0]")),
        ([*IMAGE, *SOUND], {"image_grid_thw": GRID}, ("audio 1", "audio_seqlens")),
        (
            [*IMAGE, *SOUND],
            {"image_grid_thw": GRID, "audio_seqlens": [2]},
            ("too short", "3 mel frames", "2"),
        ),
        (SOUND, {"audio_seqlens": [40]}, ("audio_seqlens", "10 x 151646")),
        (LOUD, CLIP, ("use_audio_in_video=True",)),
        (LOUD, {**CLIP, "second_per_grids": None, "use_audio_in_video": True}, ("second_per",)),
        (
            [*LOUD[:4], *LOUD[5:]],
            {**CLIP, "use_audio_in_video": True},
            ("video 1 with sound", "1 x 151656 and 3 x 151646", "1 x 151656 and 2 x 151646"),
        ),
    ],
)
def test_malformed_prompts(ids: list[int], media: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(OmnijetError) as caught:
        tmrope_positions([ids], **media)
    for word in words:
        assert word in str(caught.value)


def test_a_row_of_pads_only() -> None:
    with pytest.raises(OmnijetError, match="row 0"):
        tmrope_positions([[IDS.pad] * 6, IMAGE], [[0] * 6, [1] * 6], image_grid_thw=GRID)


def test_a_long_prompt_takes_milliseconds() -> None:
    frames, cells, sound = 60, 140, 1500
    layout = clip_layout(frame_times(frames, 1.0, 25), cells, sound, CHUNK)
    body = np.where(layout, IDS.audio, IDS.video).tolist()
    clip = [IDS.vision_bos, IDS.audio_bos, *body, IDS.audio_eos, IDS.vision_eos]
    ids = np.array([[1, *clip, 2]])
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        tmrope_positions(
            ids,
            video_grid_thw=[[frames, 28, 20]],
            second_per_grids=[1.0],
            audio_seqlens=[4 * sound],
            use_audio_in_video=True,
        )
        best = min(best, time.perf_counter() - start)
    assert best < 0.05  # some 1 ms on an idle core; per-token Python would take longer


@pytest.mark.parametrize(("ids", "mask"), [([1, 2, 3], None), ([[]], None), ([[1, 2]], [[1]])])
def test_arrays_of_the_wrong_shape(ids: list, mask: list | None) -> None:
    with pytest.raises(OmnijetError):
        tmrope_positions(ids, attention_mask=mask)
