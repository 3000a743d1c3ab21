from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor

from omnijet.nano.training.tokenizer import model_dims
from omnijet.runtime.bundle.dims import TokenIds, audio_token_count
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.log_mel import log_mel
from omnijet.runtime.media.video import Video
from omnijet.runtime.prompt import preprocess
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE
from omnijet.runtime.prompt.layout import Prompt, build_prompt, lay_out
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.prompt.places import MediumShape
from omnijet.runtime.prompt.tmrope import QWEN_TOKEN_IDS, tmrope_positions
from omnijet.runtime.prompt.tokenizer import SPELLINGS, TURN_TOKENS, Tokenizer

PREPROCESSING = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
)
DIMS = model_dims()
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (60, 90, 3), dtype=np.uint8)
WAVE = (0.1 * RNG.standard_normal(20_000)).astype(np.float32)
FRAMES = RNG.integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Bytes and special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens([*SPELLINGS.values(), *TURN_TOKENS])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    model.save(str(path))
    return Tokenizer(path)


@pytest.fixture(scope="module")
def token_ids(tokenizer: Tokenizer) -> TokenIds:
    found = {name: tokenizer.token_id(spelling) for name, spelling in SPELLINGS.items()}
    return replace(QWEN_TOKEN_IDS, **found)  # type: ignore[arg-type]


def reference_text(
    text: str,
    audio: list[int],
    images: list[Any],
    videos: list[Any],
    seconds: list[float],
    heard: bool,
) -> str:
    """The placeholder expansion of the reference, which works on strings."""
    processor = object.__new__(Qwen2_5OmniProcessor)
    for name, spelling in SPELLINGS.items():
        token = f"{name}_token"
        object.__setattr__(processor, token, spelling)
    processor.image_processor = processor.video_processor = SimpleNamespace(merge_size=2)
    (expanded,) = processor.replace_multimodal_special_tokens(
        [text],
        iter(audio),
        iter([np.array(grid) for grid in images]),
        iter([np.array(grid) for grid in videos]),
        video_second_per_grid=iter(seconds),
        use_audio_in_video=heard,
        position_id_per_seconds=25,
        seconds_per_chunk=2.0,
    )
    return str(expanded)


@pytest.mark.parametrize("seed", range(40))
def test_expansion_equals_reference(seed: int, tokenizer: Tokenizer, token_ids: TokenIds) -> None:
    rng = np.random.default_rng(seed)
    heard = bool(seed % 2)
    sounds: list[int] = []
    images: list[Any] = []
    videos: list[Any] = []
    seconds: list[float] = []
    shapes: list[MediumShape] = []
    text = "<|im_start|>"
    for kind in rng.choice(["text", "audio", "image", "video"], rng.integers(1, 7)):
        grid = (int(rng.integers(1, 12)), *(2 * rng.integers(1, 5, 2)).tolist())
        cells = (grid[0], grid[1] // 2, grid[2] // 2)
        count = int(rng.integers(1, 400))
        if kind == "text":
            text += " é word\n"
        elif kind == "audio":
            text += "<|audio_bos|><|AUDIO|><|audio_eos|>"
            sounds.append(count)
            shapes.append(MediumShape(sound_tokens=count))
        elif kind == "image":
            text += "<|vision_bos|><|IMAGE|><|vision_eos|>"
            images.append((1, *grid[1:]))
            shapes.append(MediumShape((1, *cells[1:])))
        else:
            text += "<|vision_bos|><|VIDEO|><|vision_eos|>"
            videos.append(grid)
            seconds.append(float(rng.choice([1.0, 0.5, 0.28, 2.0, 7.0, 0.606])))
            sounds += [count] if heard else []
            shapes.append(MediumShape(cells, seconds[-1], count if heard else 0))
    segments = lay_out(tokenizer.encode(text), shapes, token_ids)
    made = np.concatenate([segment.ids for segment in segments])
    want = reference_text(text, sounds, images, videos, seconds, heard)
    assert made.dtype == np.int64
    assert made.tolist() == tokenizer.encode(want)
    assert [segment.row for segment in segments] == np.cumsum(
        [0, *(segment.ids.size for segment in segments)]
    ).tolist()[:-1]
    # the layout knows the positions that the twin of the reference's function finds
    lengths = [4 * count - 1 for count in sounds]
    assert [audio_token_count(length) for length in lengths] == sounds
    positions, _ = tmrope_positions(
        made[None],
        image_grid_thw=images or None,
        video_grid_thw=videos or None,
        audio_seqlens=lengths or None,
        second_per_grids=seconds or None,
        use_audio_in_video=heard,
        token_ids=token_ids,
    )
    placed = np.concatenate([segment.positions for segment in segments], axis=1)
    np.testing.assert_array_equal(placed, positions[:, 0])


def ask(
    tokenizer: Tokenizer, token_ids: TokenIds, parts: list[dict[str, Any]], heard: bool = False
) -> Prompt:
    messages = parse_messages([{"role": "user", "content": parts}])
    return build_prompt(
        messages,
        tokenizer,
        replace(DIMS, tokens=token_ids),
        PREPROCESSING,
        use_audio_in_video=heard,
        chat_template=DEFAULT_CHAT_TEMPLATE,
    )


def check_positions(prompt: Prompt, token_ids: TokenIds) -> None:
    """The layout's positions are those that the reference finds in the ids."""
    media = {
        "image_grid_thw": [item.grid for item in prompt.images] or None,
        "video_grid_thw": [item.grid for item in prompt.videos] or None,
        "audio_seqlens": list(prompt.mel_lengths) or None,
        "second_per_grids": list(prompt.seconds_per_grid) or None,
        "use_audio_in_video": prompt.use_audio_in_video,
        "token_ids": token_ids,
    }
    positions, deltas = tmrope_positions(prompt.input_ids[None], **media)
    np.testing.assert_array_equal(prompt.positions, positions[:, 0])
    assert prompt.delta == deltas[0, 0]
    longer, deltas = tmrope_positions(np.append(prompt.input_ids, [7, 8])[None], **media)
    with_reply, delta = prompt.positions_with(2)
    np.testing.assert_array_equal(with_reply, longer[:, 0])
    assert delta == deltas[0, 0]


def test_text_only(tokenizer: Tokenizer, token_ids: TokenIds) -> None:
    prompt = ask(tokenizer, token_ids, [{"type": "text", "text": "hello <|im_end|>"}])
    assert prompt.input_ids.tolist() == tokenizer.encode(prompt.text)
    assert "hello <|im_end|><|im_end|>" in prompt.text  # parsed, as the reference does
    assert prompt.images == prompt.videos == prompt.sounds == ()


def test_all_media_in_prompt_order(tokenizer: Tokenizer, token_ids: TokenIds) -> None:
    parts: list[dict[str, Any]] = [
        {"type": "audio", "audio": WAVE},
        {"type": "image", "image": PICTURE},
        {"type": "text", "text": "and"},
        {"type": "video", "video": FRAMES},
        {"type": "audio", "audio": (WAVE, 8000)},
    ]
    prompt = ask(tokenizer, token_ids, parts)
    np.testing.assert_array_equal(prompt.sounds[0].content, log_mel(WAVE, PREPROCESSING))
    assert prompt.mel_lengths == (125, 250)
    assert [item.grid for item in prompt.images] == [(1, 4, 6)]
    assert [item.grid for item in prompt.videos] == [(3, 20, 28)]
    assert prompt.seconds_per_grid == (1.0,)
    assert prompt.images[0].content.patches().shape == (24, 1176)
    assert prompt.videos[0].content.patches().shape == (3 * 20 * 28, 1176)
    want = reference_text(
        prompt.text,
        [audio_token_count(length) for length in prompt.mel_lengths],
        [(1, 4, 6)],
        [(3, 20, 28)],
        [1.0],
        False,
    )
    assert prompt.input_ids.tolist() == tokenizer.encode(want)
    check_positions(prompt, token_ids)


def test_a_heard_clip_stands_among_other_sounds(
    tokenizer: Tokenizer, token_ids: TokenIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Video(FRAMES.repeat(7, 1).repeat(7, 2), 2.0, WAVE[:9000])  # 336 x 448
    monkeypatch.setattr(preprocess, "load_video", lambda *_: clip)
    parts: list[dict[str, Any]] = [
        {"type": "audio", "audio": WAVE},
        {"type": "video", "video": FRAMES},
        {"type": "audio", "audio": WAVE[:4000]},
    ]
    prompt = ask(tokenizer, token_ids, parts, heard=True)
    assert prompt.mel_lengths == (125, 57, 25)
    grid = prompt.videos[0].grid
    counts = [audio_token_count(length) for length in prompt.mel_lengths]
    want = reference_text(prompt.text, counts, [], [grid], [1.0], True)
    assert prompt.input_ids.tolist() == tokenizer.encode(want)
    check_positions(prompt, token_ids)


def test_a_clip_without_sound_is_only_looked_at(
    tokenizer: Tokenizer, token_ids: TokenIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [{"type": "video", "video": FRAMES}]
    seen = ask(tokenizer, token_ids, silent, heard=False)
    heard = ask(tokenizer, token_ids, silent, heard=True)
    assert heard.input_ids.tolist() == seen.input_ids.tolist() and not heard.use_audio_in_video
    # beside one with sound
    frames = FRAMES.repeat(7, 1).repeat(7, 2)  # 336 x 448
    clips = iter([Video(frames, 2.0, None), Video(frames, 2.0, WAVE[:9000])])
    monkeypatch.setattr(preprocess, "load_video", lambda *_: next(clips))
    both = ask(tokenizer, token_ids, silent * 2, heard=True)
    assert both.use_audio_in_video and both.mel_lengths == (57,)
    check_positions(both, token_ids)


def test_unusable_prompts(tokenizer: Tokenizer, token_ids: TokenIds, tmp_path: Path) -> None:
    short = tmp_path / "short.wav"
    soundfile.write(short, WAVE[:320], 16_000)
    for part, words in [
        ({"type": "audio", "audio": str(short)}, "too short"),
        ({"type": "text", "text": "see <|IMAGE|>"}, "spells out a placeholder"),
        ({"type": "audio", "audio": WAVE * np.nan}, "message 1, part 1"),
    ]:
        with pytest.raises(OmnijetError, match=words):
            ask(tokenizer, token_ids, [part])
    with pytest.raises(OmnijetError, match="does not belong"):
        ask(tokenizer, QWEN_TOKEN_IDS, [{"type": "text", "text": "x"}])


def test_a_template_that_loses_a_picture(tokenizer: Tokenizer, token_ids: TokenIds) -> None:
    messages = parse_messages([{"role": "user", "content": [{"type": "image", "image": PICTURE}]}])
    with pytest.raises(OmnijetError, match="one placeholder per") as caught:
        build_prompt(
            messages,
            tokenizer,
            replace(DIMS, tokens=token_ids),
            PREPROCESSING,
            use_audio_in_video=False,
            chat_template="<|AUDIO|>",
        )
    assert (caught.value.expected, caught.value.got) == ("<|IMAGE|>", "<|AUDIO|>")


def test_a_template_that_writes_nothing(tokenizer: Tokenizer, token_ids: TokenIds) -> None:
    with pytest.raises(OmnijetError, match="template writes nothing"):
        build_prompt(
            parse_messages([{"role": "user", "content": "Hello"}]),
            tokenizer,
            replace(DIMS, tokens=token_ids),
            PREPROCESSING,
            use_audio_in_video=False,
            chat_template="{% if false %}never{% endif %}",
        )
