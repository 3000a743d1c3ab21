"""A reply says why it ends where it does, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import Sampling
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import PcmChunk, Reply
from tests.prompts import text, user

QUESTION = user(text("Who are you?"))
LIMITS: dict[str, Any] = {"seed": 3, "greedy": True, "max_text_tokens": 6, "max_codes": 12}


@pytest.fixture
def ending(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> Omni:
    """A model whose text and speech end by themselves within nine tokens and 30 codes."""
    parts, limits = omni.model.__dict__, {**LIMITS, "max_text_tokens": 9, "max_codes": 30}
    thinker, talker = omni.model.thinker, omni.model.talker
    end = _first_new(omni.generate(QUESTION, **limits).text_ids, 4)
    tokens = replace(thinker.tokens, eos=(end,))
    monkeypatch.setitem(parts, "thinker", replace(thinker, tokens=tokens))
    code = _first_new(omni.generate(QUESTION, **limits).codes, 7)
    codec = replace(talker.codec, more_ends=(code,))
    monkeypatch.setitem(parts, "talker", replace(talker, codec=codec))
    return omni


def _first_new(ids: list[int], start: int) -> int:
    """The first id from `start` on that did not come before."""
    return next(one for n, one in enumerate(ids) if n >= start and one not in ids[:n])


@pytest.fixture(params=["whole", "streamed"])
def ask(request: pytest.FixtureRequest) -> Any:
    def asked(omni: Omni, **options: Any) -> Reply:
        if request.param == "whole":
            return omni.generate(QUESTION, **{**LIMITS, **options})
        stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, **options})
        assert stream.reply.finish_reason is None
        assert list(stream)
        return stream.reply

    return asked


def test_the_model_ends_text_and_speech(ending: Omni, ask: Any) -> None:
    reply = ask(ending, max_text_tokens=9, max_codes=30)
    assert reply.text_ids[-1] in ending.model.thinker.tokens.eos
    assert (reply.finish_reason, reply.cuts) == ("stop", ())
    assert 7 <= len(reply.codes) < 29


def test_an_end_at_the_limit_is_an_end(ending: Omni, ask: Any) -> None:
    whole = ask(ending, max_text_tokens=9, max_codes=30)
    limits = {"max_text_tokens": len(whole.text_ids), "max_codes": len(whole.codes) + 1}
    same = ask(ending, **limits)
    assert (same.text_ids, same.codes, same.finish_reason) == (whole.text_ids, whole.codes, "stop")


def test_a_reply_without_a_word_ends_by_itself(omni: Omni, ask: Any) -> None:
    eos = omni.model.dims.tokens.eos[0]
    others = tuple(token for token in range(omni.model.dims.thinker.vocab) if token != eos)
    reply = ask(omni, greedy=False, thinker_sampling=Sampling(suppress=others))
    assert (reply.text, reply.codes, reply.audio.size) == ("", [], 0)
    assert (reply.finish_reason, reply.cuts) == ("stop", ())


@pytest.mark.parametrize(
    ("options", "cuts"),
    [
        ({"max_text_tokens": 9, "max_codes": 4}, ("codes",)),
        ({"max_text_tokens": 3, "max_codes": 4}, ("length", "codes")),
        ({"max_text_tokens": 9, "max_codes": 1}, ("codes",)),
        ({"max_text_tokens": 3, "speech": False}, ("length",)),
        ({"max_text_tokens": 1}, ("length",)),
    ],
)
def test_limits_cut(ending: Omni, ask: Any, options: dict[str, Any], cuts: tuple[str]) -> None:
    reply = ask(ending, **options)
    assert (reply.finish_reason, reply.cuts) == (cuts[0], cuts)


@pytest.fixture
def narrow(nano: tuple[Path, Path], omni: Omni) -> Iterator[Omni]:
    """A model with room for ten rows beside the prompt."""
    rows = omni.generate(QUESTION, speech=False, max_text_tokens=1).prompt_tokens + 10
    with Omni.open(nano[1], backend=OrtBackend(threads=1), context_limit=rows) as opened:
        yield opened


def test_a_full_context_cuts_text_and_speech(narrow: Omni, ask: Any) -> None:
    alone = ask(narrow, max_text_tokens=90, speech=False)
    assert (alone.finish_reason, len(alone.text_ids)) == ("context", 11)
    spoken = ask(narrow, max_text_tokens=3, max_codes=90)
    assert (spoken.finish_reason, spoken.cuts) == ("length", ("length", "context"))
    both = ask(narrow, max_text_tokens=90, max_codes=90)
    assert (both.finish_reason, both.cuts) == ("context", ("context",))


def test_cancelled_before_the_end(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 300})
    next(event for event in stream if isinstance(event, PcmChunk))
    assert stream.reply.finish_reason is None
    stream.cancel()
    assert stream.reply.finish_reason == "cancelled"
    assert list(stream) == [] and stream.reply.finish_reason == "cancelled"
    # all was made, and nobody has read it
    unread = omni.stream(QUESTION, preset="fast", **{**LIMITS, "max_codes": 3})
    while not unread.workers.have_ended:
        pass
    assert unread.reply.finish_reason is None
    with unread:
        pass
    assert unread.reply.finish_reason == "cancelled"


def test_cancelling_what_was_read_changes_nothing(omni: Omni) -> None:
    stream = omni.stream(QUESTION, preset="fast", **LIMITS)
    assert list(stream)
    stream.cancel(played=100)
    assert stream.reply.finish_reason == "length"


def test_a_fault_is_no_end(omni: Omni) -> None:
    stream = omni.stream(user({"type": "image", "image": np.zeros((2, 2, 9, 9), np.uint8)}))
    with pytest.raises(OmnijetError):
        list(stream)
    assert stream.reply.finish_reason is None


def test_a_session_says_it_too(ending: Omni) -> None:
    with ending.session() as session:
        assert session.generate("Who are you?", **LIMITS).finish_reason is not None
        stream = session.stream("And now?", preset="fast", **LIMITS)
        next(stream)
        assert session.generate("Once more?", **LIMITS).finish_reason is not None
    assert stream.reply.finish_reason == "cancelled"
