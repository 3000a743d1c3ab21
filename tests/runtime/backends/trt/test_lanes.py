"""Turns that share engines in lanes answer as each does alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.backends.lanes import PassingBound
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from tests.runtime.backends.trt.engines import CAPACITY, machine, with_engines

OPTIONS: dict[str, Any] = {"seed": 3, "max_text_tokens": 8, "max_codes": 40, "preset": "fast"}
ASKED = ("Hello", "What can you see?", "Count to seven.")


def test_three_at_once_are_answered_as_one_by_one(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = with_engines(trained[1], tmp_path / "bundle")
    answers: dict[str, tuple[list[int], list[int]]] = {}
    with (
        machine("tensorrt"),
        Omni.open(bundle, engines="orin-nx") as engines,
        Assistant(engines) as assistant,
    ):

        def talk(words: str) -> None:
            seat = assistant.sit()
            for _ in range(2):  # captured work is used again
                with assistant.turn("chat", seat) as turn:
                    list(turn.stream(words, **OPTIONS))
                    assert turn.reply is not None
                    answers[words] = turn.reply.text_ids, turn.reply.codes
            thinker = seat.session.memory.thinker
            assert thinker is not None and isinstance(thinker.steps[1].bound, PassingBound)

        threads = [threading.Thread(target=talk, args=(words,)) for words in ASKED]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert len(answers) == len(ASKED)
    with Omni.open(bundle, backend=OrtBackend(1), context_limit=CAPACITY) as alone:
        for words, found in answers.items():
            session = alone.session()
            for _ in range(2):
                with session.stream(words, **OPTIONS) as stream:
                    list(stream)
                reply = stream.reply
            assert (reply.text_ids, reply.codes) == found and reply.codes
