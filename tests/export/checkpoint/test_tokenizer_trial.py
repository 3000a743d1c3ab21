"""A tokenizer.json that the library panics at, aborts at or never ends with is told at export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnijet.export.checkpoint import tokenizer_trial
from omnijet.export.checkpoint.tokenizer_file import read_tokenizer
from omnijet.runtime.errors import OmnijetError
from tests.conftest import NANO_CHECKPOINT

GROWING = [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 9


def _model(data: dict[str, Any]) -> None:
    data["model"]["continuing_subword_prefix"] = "é"


def _regex(data: dict[str, Any]) -> None:
    pattern = {"Regex": "(a+)+$|(a|aa)+b"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    data["pre_tokenizer"] = split


def _decoder(data: dict[str, Any]) -> None:
    data["decoder"] = {"type": "Strip", "content": "a", "start": 10**18, "stop": 10**18}


def _abort(data: dict[str, Any]) -> None:
    data["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAAA"}


def _endless(data: dict[str, Any]) -> None:
    data["normalizer"] = {"type": "Sequence", "normalizers": GROWING}


def _no_unknown(data: dict[str, Any]) -> None:
    data["model"] = {"type": "WordLevel", "unk_token": "nope", "vocab": {"a": 0}}


HOSTILE: dict[Callable[[dict[str, Any]], None], str] = {
    _model: "byte index",
    _regex: "retry-limit",
    _decoder: "index",
    _abort: "ended the process: memory allocation of",
    _endless: "",  # out of time or of memory, whatever comes first
    _no_unknown: "Missing [UNK]",
}


def written(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    data = json.loads((NANO_CHECKPOINT / "tokenizer.json").read_text())
    change(data)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_tokenizer_is_told(
    change: Callable[[dict[str, Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_trial, "SECONDS", 5.0)
    path = written(tmp_path, change)
    with pytest.raises(OmnijetError, match="the tokenizer cannot be used") as caught:
        read_tokenizer(path)
    assert HOSTILE[change] in str(caught.value.got)
    assert caught.value.where == path and "\n" not in str(caught.value.got)


def test_an_end_without_a_word_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_trial, "SECONDS", 0.0)
    with pytest.raises(OmnijetError, match="nothing within 0 seconds"):
        read_tokenizer(NANO_CHECKPOINT / "tokenizer.json")


def test_a_good_one_passes() -> None:
    text = read_tokenizer(NANO_CHECKPOINT / "tokenizer.json")
    assert json.loads(text)["model"]["type"] == "BPE"
