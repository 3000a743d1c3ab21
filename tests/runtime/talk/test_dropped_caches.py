"""A conversation whose caches were let go of is fed again, and answers the same."""

from __future__ import annotations

import pytest

from omnijet.runtime.omni import Omni
from tests.runtime.talk.asking import LIMITS, TURNS, sound


def test_the_answers_are_the_same(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dropping, looked = omni.session(), omni.session(), []
    encode = type(omni.model.eyes).encode
    monkeypatch.setattr(
        type(omni.model.eyes), "encode", lambda *a, **b: looked.append(1) or encode(*a, **b)
    )
    for content in TURNS:
        one, other = kept.generate(content, **LIMITS), dropping.generate(content, **LIMITS)
        assert (one.text_ids, one.codes) == (other.text_ids, other.codes)
        assert other.prompt_ids.tolist() == one.prompt_ids.tolist()
        assert other.reused_tokens == 0 <= one.reused_tokens < one.prompt_tokens
        assert dropping.drop_caches() and not len(dropping.memory)
    assert one.reused_tokens > 0
    assert len(looked) == 4  # two pictures in each: what was encoded stays
    for session in (kept, dropping):
        session.feed_audio(sound(4.5))
    assert dropping.drop_caches() and dropping.heard.size
    one, other = kept.generate("Well?", **LIMITS), dropping.generate("Well?", **LIMITS)
    assert (one.text_ids, one.codes) == (other.text_ids, other.codes)


def test_a_reply_that_is_made_keeps_them(omni: Omni) -> None:
    session = omni.session()
    stream = session.stream("Hello", preset="fast", **{**LIMITS, "max_codes": 3000})
    next(stream)
    if not stream.workers.have_ended:
        assert not session.drop_caches() and not stream.reply.finish_reason
    stream.cancel()
    assert session.drop_caches() and len(session.messages) > 1
