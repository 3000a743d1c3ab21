"""Messages of equal content have equal keys, others have not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from omnijet.runtime.assistant.content_key import message_key
from omnijet.runtime.prompt.messages import Message, Text, parse_messages


def key(content: Any, role: str = "user") -> bytes:
    (message,) = parse_messages([{"role": role, "content": content}])
    return message_key(message)


def sound(value: float, size: int = 100) -> dict[str, Any]:
    return {"type": "audio", "audio": (np.full(size, value, np.float32), 16_000)}


def picture(value: int, size: tuple[int, int] = (40, 30)) -> dict[str, Any]:
    return {"type": "image", "image": Image.new("RGB", size, (value, 0, 0))}


def test_equal_content_has_equal_keys() -> None:
    data = "data:image/png;base64,iVBORw0KGgo="
    for make in (
        lambda: "Hello",
        lambda: [sound(0.5)],
        lambda: [picture(3), {"type": "text", "text": "Hi"}],
        lambda: [{"type": "audio", "audio": bytes(range(90))}],
        lambda: [{"type": "image", "image": data}],
        lambda: [{"type": "video", "video": [np.zeros((8, 8, 3), np.uint8)] * 4}],
    ):
        assert key(make()) == key(make())
    assert message_key(Message("user", "Hi")) == message_key(Message("user", (Text("Hi"),)))


def test_other_content_has_another_key() -> None:
    contents = [
        "Hello", "hello", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
        [sound(0.5)], [sound(0.25)], [sound(0.5, 101)], [sound(0.5), sound(0.5)],
        [picture(3)], [picture(4)], [picture(3, (30, 40))],
        [{**picture(3), "max_pixels": 100_000}],
        [{"type": "audio", "audio": b"12", "format": "s16le:16000:1"}],
        [{"type": "audio", "audio": b"12"}],
    ]  # fmt: skip
    keys = [key(content) for content in contents]
    assert len(set(keys)) == len(contents)
    assert key("Hello") != key("Hello", "assistant")


def test_what_may_have_changed_is_equal_to_nothing(tmp_path: Any) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF")
    for source in (str(file), file, io.BytesIO(b"RIFF")):
        content = [{"type": "audio", "audio": source}]
        assert key(content) != key(content)
