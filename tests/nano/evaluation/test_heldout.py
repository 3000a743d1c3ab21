"""Tests of the held-out set: the committed one is complete, a damaged one is refused."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from omnijet.nano.evaluation.heldout import HELD_OUT, LINES, open_set
from omnijet.nano.world import words
from omnijet.runtime.errors import OmnijetError

ITEM: dict[str, Any] = {
    "skill": "see",
    "turns": [{"parts": [{"type": "text", "text": "What do you see?"}], "answer": "yes"}],
    "unseen": False,
}


def write_set(path: Path, *items: Any, files: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
        file.writestr(LINES, "\n".join(lines) + "\n")
        for name in files:
            file.writestr(name, b"content")
    return path


def test_the_committed_set() -> None:
    with open_set() as items:
        counts = Counter(item.skill for item in items)
        assert all(counts[skill] >= 200 for skill in ("hear", "see", "watch", "converse", "speak"))
        hear = [item for item in items if item.skill == "hear"]
        assert 80 < sum(item.unseen for item in hear) < 160
        for item in items:
            assert set(item.answer.split()) <= set(words.REPLY_WORDS)
            if item.skill in ("hear", "converse"):
                said = item.answer if item.skill == "hear" else item.messages[2]["content"]
                is_scene = len(said.split()) > 1 and said.split()[1] in words.COLOURS
                seen = (
                    item.skill == "converse" and is_scene
                )  # the text describes a picture and is not spoken
                assert seen or len(said.split()) < 3 or words.held_out(said)
            if item.skill == "speak":
                assert item.original is not None and item.original.is_file()
                assert len(item.codes) > 20 and 1 <= min(item.codes) <= max(item.codes) <= 512
        assert {item.voice for item in items if item.skill == "speak"} == {"Chelsie", "Ethan"}
        folder = Path(items[0].messages[1]["content"][0]["audio"]).parents[1]
        assert folder.is_dir()
    assert not folder.exists()


def test_history_and_paths(tmp_path: Path) -> None:
    two = {**ITEM, "turns": [*ITEM["turns"], *ITEM["turns"]], "unseen": True}
    with open_set(write_set(tmp_path / "x.zip", ITEM, two)) as items:
        assert [item.number for item in items] == [0, 1]
        roles = [message["role"] for message in items[1].messages]
        assert roles == ["system", "user", "assistant", "user"]
        assert items[1].unseen and not items[0].unseen


def test_every_fault_is_listed(tmp_path: Path) -> None:
    no_answer = {"skill": "see", "turns": [{"parts": []}], "unseen": False}
    lost = {"type": "image", "image": "see/1.png"}
    no_file = {**ITEM, "turns": [{"parts": [lost], "answer": "yes"}]}
    leading_out = {"type": "image", "image": "../../etc/passwd"}
    outside = {**ITEM, "turns": [{"parts": [leading_out], "answer": "yes"}]}
    bad = write_set(
        tmp_path / "x.zip", ITEM, no_answer, {**ITEM, "skill": "smell"}, no_file, outside,
        {**ITEM, "skill": "speak"}, "{", "[]",
    )  # fmt: skip
    with pytest.raises(OmnijetError) as caught, open_set(bad):
        pass
    got = str(caught.value)
    assert "7 faults" in got
    for part in ("line 2: no 'answer'", "line 3: unknown skill 'smell'", "line 4: no file see/1",
                 "line 5: no file", "line 6: no 'voice'", "line 7", "line 8"):  # fmt: skip
        assert part in got
    assert "line 1: " not in got


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../b.png"])
def test_a_member_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = write_set(tmp_path / "x.zip", ITEM, files=(name,))
    with pytest.raises(OmnijetError, match="outside of it"), open_set(path):
        pass


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04 broken"])
def test_no_set(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OmnijetError, match="cannot be read"), open_set(path):
        pass


def test_an_empty_set(tmp_path: Path) -> None:
    with pytest.raises(OmnijetError, match="damaged"), open_set(write_set(tmp_path / "x.zip")):
        pass


def test_the_committed_path_is_the_default() -> None:
    assert HELD_OUT.name == "heldout.zip" and HELD_OUT.stat().st_size < 10_000_000
