from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.pcm import RawFormat
from omnijet.runtime.prompt.messages import Audio, Image, Message, Text, Video, parse_messages

WAVE = np.zeros(8, np.float32)
FRAME = np.zeros((4, 4, 3), np.uint8)


def test_every_kind_of_part(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.touch()
    picture = PillowImage.new("RGB", (2, 2))
    parts: list[dict[str, Any]] = [
        {"type": "image", "image": str(path)},
        {"type": "image", "image": picture},
        {"type": "image", "image": FRAME},
        {"type": "audio", "audio": path},
        {"type": "audio", "audio": WAVE},
        {"type": "audio", "audio": (WAVE, 44_100)},
        {"type": "video", "video": str(path)},
        {"type": "video", "video": [picture, FRAME]},
        {"type": "video", "video": FRAME[None]},
        {"type": "video", "video": b"1"},
        {"type": "audio", "audio": io.BytesIO(b"1"), "format": "s16le:16000:1"},
        {"type": "image", "path": str(path)},
        {"type": "image", "url": path.as_uri()},
        {"type": "image", "base64": "AAAA"},
        {"type": "image", "image": "data:image/png;base64,AAAA"},
        {"type": "audio", "url": str(path)},
        {"type": "text", "text": ""},
    ]
    system, user = parse_messages(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    )
    assert system == Message("system", "Be brief.") and system.parts == (Text("Be brief."),)
    kinds = [type(part) for part in user.parts]
    assert kinds == [Image] * 3 + [Audio] * 3 + [Video] * 4 + [Audio] + [Image] * 4 + [Audio, Text]
    assert [part.source for part in user.parts if not isinstance(part, Text)][1] is picture
    assert [part.raw for part in user.parts if isinstance(part, Audio)] == [
        *[None] * 3, RawFormat("s16le", 16_000, 1), None,
    ]  # fmt: skip
    assert [part.source for part in user.parts if isinstance(part, Image)][5] == "data:;base64,AAAA"


def test_all_faults_are_listed(tmp_path: Path) -> None:
    messages: Any = [
        {"role": "usr", "content": "x"},
        {"role": "user", "contents": "x"},
        {"role": "user", "content": 3},
        "hello",
        {
            "role": "user",
            "content": [
                {"type": "imge", "image": FRAME},
                {"type": "image", "image_url": "cat.png"},
                {"type": "image", "image": "gone.png"},
                {"type": "audio", "audio": "https://example.org/a.wav"},
                {"type": "text", "text": None},
                {"type": "video", "video": [1, 2]},
                {"type": "audio", "audio": WAVE, "rate": 8000},
                {"text": "x"},
                "x",
                {"type": "image", "image": "data:image/png;base64" + "A" * 9000},
                {"type": "image", "image": tmp_path},
                {"type": "video", "video": [FRAME, "gone.png"]},
                {"type": "audio", "audio": WAVE, "format": "s16le:16000:1"},
                {"type": "audio", "audio": b"", "format": "s17le:16000:1"},
                {"type": "audio", "audio": b"", "format": 16},
                {"type": "audio", "audio": b"", "path": "a.wav"},
                {"type": "image", "url": "s3://bucket/a.png"},
                {"type": "audio", "audio": "file://server/a.wav"},
            ],
        },
    ]
    with pytest.raises(OmnijetError, match="24 faults") as caught:
        parse_messages(messages)
    lines = [line.strip() for line in str(caught.value.got).splitlines()]
    assert lines == [
        "message 1: unknown role 'usr'; did you mean 'user'?",
        "message 2: unknown key 'contents'; did you mean 'content'?",
        "message 2: no 'content'",
        "message 3: content must be a string or a list, not int",
        "message 4: expected an object, got str",
        "message 5, part 1: unknown type 'imge'; did you mean 'image'?",
        "message 5, part 2: unknown key 'image_url'; did you mean 'image'?",
        "message 5, part 2: no 'image'",
        "message 5, part 3: no file gone.png",
        "message 5, part 4: an address, no file: https://example.org/a.wav; download it first",
        "message 5, part 5: text must be a string, not NoneType",
        "message 5, part 6: video must be a file, bytes, an array or a sequence of frames, "
        "not list",
        "message 5, part 7: unknown key 'rate'",
        "message 5, part 8: no type; expected one of text, image, audio, video",
        "message 5, part 9: expected an object, got str",
        "message 5, part 10: a data: URL without a comma",
        f"message 5, part 11: a folder: {tmp_path}; name a file in it",
        "message 5, part 12, frame 2: no file gone.png",
        "message 5, part 13: format is for raw PCM in a file or bytes, not for an array",
        "message 5, part 14: format: unknown encoding 's17le'; did you mean s16le?",
        "message 5, part 15: format must be a string, not int",
        "message 5, part 16: more than one source: audio, path",
        "message 5, part 17: an address, no file: s3://bucket/a.png; download it first",
        "message 5, part 18: the machine 'server' in file://server/a.wav; write file:///FULL/PATH",
    ]


@pytest.mark.parametrize("messages", [[], "hello", {"role": "user", "content": "x"}, None])
def test_no_conversation(messages: Any) -> None:
    with pytest.raises(OmnijetError, match="1 fault"):
        parse_messages(messages)


def test_a_role_of_any_kind_is_refused() -> None:
    for role in (np.zeros(3), np.zeros(1000), [], {}, None, 10**400):
        with pytest.raises(OmnijetError, match="unknown role") as caught:
            parse_messages([{"role": role, "content": "hello"}])
        assert len(str(caught.value)) < 500
