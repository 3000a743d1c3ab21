"""Calibration data: the built-in set, folders, JSONL files, and their faults."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnijet.nano.evaluation.heldout import open_set
from omnijet.nano.world import words
from omnijet.quantization.calibration.conversations import NANO, open_conversations
from omnijet.runtime.errors import OmnijetError

MEDIA = Path(__file__).parents[2] / "media"
HELLO = [{"role": "user", "content": "Hello"}]
PICTURE = [{"role": "user", "content": [{"type": "image", "image": "pictures/cat.png"}]}]


def parts(messages: Any) -> Iterator[Any]:
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def media(messages: Any) -> Iterator[str]:
    for part in parts(messages):
        if part["type"] != "text":
            yield part[part["type"]]


def test_the_built_in_set() -> None:
    assert NANO.stat().st_size < 2_000_000
    with open_conversations(NANO) as conversations:
        assert len(conversations.items) == 64
        kinds = Counter(
            part["type"] for item in conversations.items for part in parts(item.messages)
        )
        assert min(kinds[kind] for kind in ("audio", "image", "video")) >= 16
        several = [item for item in conversations.items if len(item.messages) > 2]
        assert len(several) == 16
        for item in conversations.items:
            assert item.messages[0]["role"] == "system" and item.messages[-1]["role"] == "user"
        first = [next(media(item.messages), "") for item in conversations.items[:3]]
        assert [Path(name).suffix for name in first] == [".ogg", ".png", ".mp4"]
        folder = Path(first[0]).parents[1]
        assert folder.is_dir()
    assert not folder.exists()


def test_the_built_in_set_has_nothing_of_the_held_out_one() -> None:
    def contents(files: Any) -> set[str]:
        return {hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in files}

    with open_set() as items:
        texts = {item.answer for item in items}
        texts |= {part["text"] for item in items for part in parts(item.messages)
                  if part["type"] == "text"}  # fmt: skip
        tested = contents(name for item in items for name in media(item.messages))
    held_out = {text for text in texts if words.held_out(text) and text not in ASKED}
    assert len(held_out) > 50
    with open_conversations(NANO) as conversations:
        said = [part["text"] for item in conversations.items for part in parts(item.messages)
                if part["type"] == "text"]  # fmt: skip
        assert not held_out & set(said)
        assert not [text for text in said if words.held_out(text) and text not in ASKED]
        seen = contents(name for item in conversations.items for name in media(item.messages))
        assert len(seen) >= 64 and not seen & tested


ASKED = {words.HEAR, words.SEE, words.WATCH, words.ASK_COUNT, words.ASK_COLOUR, words.ASK_SHAPE,
         words.ASK_FIRST, words.ASK_LAST}  # fmt: skip


def test_a_folder_of_media(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b").mkdir()
    for name, copied in (("drawing.png", "b/x.PNG"), ("question.wav", "a.wav"),
                         ("clip.mp4", "c.mp4"), ("question.wav", ".hidden.wav")):  # fmt: skip
        shutil.copy(MEDIA / name, tmp_path / copied)
    (tmp_path / "notes.txt").write_text("none")
    with caplog.at_level(logging.WARNING), open_conversations(tmp_path) as conversations:
        asked = [list(parts(item.messages))[-1]["text"] for item in conversations.items]
        assert asked == ["What do you hear?", "Describe this picture.", "Describe this clip."]
        names = [next(media(item.messages)) for item in conversations.items]
        assert names == [str(tmp_path / name) for name in ("a.wav", "b/x.PNG", "c.mp4")]
    assert "1 files are ignored" in caplog.text


def test_a_jsonl_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures").mkdir()
    shutil.copy(MEDIA / "drawing.png", tmp_path / "pictures" / "cat.png")
    frames = ["pictures/cat.png", str(MEDIA / "drawing.png")]
    clip = [{"role": "user", "content": [{"type": "video", "video": frames}]}]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (HELLO, PICTURE, clip)) + "\n\n")
    monkeypatch.chdir(tmp_path.parent)
    with open_conversations(Path(tmp_path.name) / "data.jsonl") as conversations:
        assert [item.name for item in conversations.items] == ["line 1", "line 2", "line 3"]
        cat = str(tmp_path / "pictures" / "cat.png")
        assert list(media(conversations.items[1].messages)) == [cat]
        assert list(media(conversations.items[2].messages)) == [[cat, str(MEDIA / "drawing.png")]]


def test_the_digest_is_of_contents_not_of_places(tmp_path: Path) -> None:
    digests = []
    for folder, picture, text in (("a", b"x", HELLO), ("b", b"x", HELLO), ("c", b"y", HELLO),
                                  ("d", b"x", [{"role": "user", "content": "Bye"}])):  # fmt: skip
        (tmp_path / folder / "pictures").mkdir(parents=True)
        (tmp_path / folder / "pictures" / "cat.png").write_bytes(picture)
        path = tmp_path / folder / "data.jsonl"
        path.write_text(json.dumps(PICTURE) + "\n" + json.dumps(text))
        with open_conversations(path) as conversations:
            digests.append(conversations.digest)
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_media_of_every_key_are_found_beside_the_file(tmp_path: Path) -> None:
    digests = []
    for number, content in enumerate((b"x", b"x", b"y")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "cat.png").write_bytes(content)
        parts = [
            {"type": "image", "path": "cat.png"},
            {"type": "video", "video": ["cat.png"]},
            {"type": "image", "image": "data:image/png;base64,AAAA"},
        ]
        (folder / "data.jsonl").write_text(json.dumps([{"role": "user", "content": parts}]))
        with open_conversations(folder / "data.jsonl") as conversations:
            digests.append(conversations.digest)
            (conversation,) = conversations.items
            assert conversation.messages[0]["content"][0]["path"] == str(folder / "cat.png")
    assert digests[0] == digests[1] != digests[2]
    (tmp_path / "data.jsonl").write_text(json.dumps(PICTURE))
    (tmp_path / "pictures").mkdir()
    os.mkfifo(tmp_path / "pictures" / "cat.png")
    with pytest.raises(OmnijetError, match="is a pipe"):
        open_conversations(tmp_path / "data.jsonl").__enter__()


def test_every_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    answered = [*HELLO, {"role": "assistant", "content": "Hello!"}]
    lines = ["{", json.dumps(HELLO), "", json.dumps(PICTURE), json.dumps(HELLO[0]), "[]",
             json.dumps(answered), '[{"role": "user"}]', "[" * 100_000]  # fmt: skip
    path.write_text("\n".join(lines))
    with pytest.raises(OmnijetError) as caught, open_conversations(path):
        pass
    got = str(caught.value)
    assert "7 of 8" in got and str(path) in got
    for part in ("line 1: Expecting", "line 4: message 1, part 1: no file", "line 5: expected a",
                 "line 6: there is no message", "line 7: the last message is the assistant's",
                 "line 8: message 1: no 'content'", "line 9: "):  # fmt: skip
        assert part in got, part


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00"])
def test_no_conversation_in_a_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OmnijetError) as caught, open_conversations(path):
        pass
    assert caught.value.where == path


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OmnijetError, match="cannot be read"):
        open_conversations(tmp_path / "pipe").__enter__()


@pytest.mark.parametrize("name", [None, "notes.txt"])
def test_a_folder_without_media(tmp_path: Path, name: str | None) -> None:
    if name is not None:
        (tmp_path / name).write_text("none")
    with pytest.raises(OmnijetError, match="folder holds no media"):
        open_conversations(tmp_path).__enter__()


@pytest.mark.parametrize("content", [None, b"no zip", "empty"])
def test_a_damaged_set(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "x.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "empty":
        zipfile.ZipFile(path, "w").close()
    with pytest.raises(OmnijetError, match="calibration set cannot be read") as caught:
        open_conversations(path).__enter__()
    assert caught.value.where == path
