"""A request that goes on from an earlier one finds its caches; nobody else has them meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import Message, parse_messages
from tests.runtime.assistant.asking import LIMITS, Records, ask, until

SYSTEM = {"role": "system", "content": "You are short."}


def parsed(*messages: dict[str, Any]) -> list[Message]:
    return list(parse_messages(messages)) if messages else []


def request(assistant: Assistant, *messages: dict[str, Any]) -> tuple[str, str]:
    """Asks as a client without a session does; returns the text and who answered."""
    *history, question = messages
    with assistant.borrowed(parsed(*history)) as seat:
        ask(assistant, seat, question["content"])
        text = seat.session.messages[-1].parts[0].text  # type: ignore[union-attr]
        return text, seat.id


def picture() -> dict[str, Any]:
    return {"type": "image", "image": np.full((60, 80, 3), 90, np.uint8)}


def user(*content: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": one} if isinstance(one, str) else one for one in content]
    return {"role": "user", "content": parts}


def assistant_says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_a_follow_up_reuses_the_rows(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    records, looked = Records(), []
    encode = type(omni.model.eyes).encode
    monkeypatch.setattr(
        type(omni.model.eyes), "encode", lambda *a, **b: looked.append(1) or encode(*a, **b)
    )
    with Assistant(omni, observe=records) as assistant:
        talk = [SYSTEM, user(picture(), "What is this?")]
        first, one = request(assistant, *talk)
        talk = [SYSTEM, user(picture(), "What is this?"), assistant_says(first), user("Sure?")]
        second, other = request(assistant, *talk)
        assert one == other and len(looked) == 1  # an equal picture is not encoded again
        assert records[1].reused_tokens >= records[0].prompt_tokens > 0
        assert assistant.load.pooled == 1
        fresh = omni.session(system=None)
        fresh.messages = parsed(*talk[:-1])
        assert second == fresh.generate("Sure?", **LIMITS).text


def test_an_edited_history_goes_on_from_what_is_equal(omni: Omni) -> None:
    records = Records()
    with Assistant(omni, observe=records) as assistant:
        first, _ = request(assistant, SYSTEM, user("Hello"))
        history = [SYSTEM, user("Hello"), assistant_says(first)]
        request(assistant, *history, user("One?"))
        request(assistant, *history, user("Two?"))
        assert records[2].reused_tokens >= records[0].prompt_tokens
        # an answer that is not the one given: all before it is there
        request(assistant, SYSTEM, user("Hello"), assistant_says("zzz"), user("Three?"))
        assert 0 < records[3].reused_tokens < records[2].prompt_tokens
        assert assistant.load.pooled == 1


def test_whoever_begins_anew_gets_a_fresh_one(omni: Omni) -> None:
    records = Records()
    with Assistant(omni, observe=records) as assistant:
        _, one = request(assistant, SYSTEM, user("Hello"))
        _, other = request(assistant, SYSTEM, user("Something else"))
        assert one != other and records[1].reused_tokens == 0
        changed = user(picture(), "Hello")
        changed["content"][0]["image"][0, 0] = 7
        _, third = request(assistant, SYSTEM, changed)
        assert third not in (one, other)


def test_two_requests_at_once_never_share(omni: Omni) -> None:
    with Assistant(omni) as assistant:
        first, one = request(assistant, user("Hello"))
        history = parsed(user("Hello"), assistant_says(first))
        with assistant.borrowed(history) as seat, assistant.borrowed(history) as twin:
            assert seat.id == one and twin.session is not seat.session
            answers = {}
            threads = [
                threading.Thread(
                    target=lambda who=who: answers.update({who.id: ask(assistant, who, "Go on")})  # type: ignore[misc]
                )
                for who in (seat, twin)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(answers) == 2 and answers[seat.id] == answers[twin.id]
        assert assistant.load.pooled == 2 and assistant.load.sessions == 0


def test_the_oldest_goes_first(omni: Omni) -> None:
    with Assistant(omni, Limits(pooled=2, sessions=3)) as assistant:
        talks = [user(f"Number {number}") for number in range(3)]
        answered = [request(assistant, talk) for talk in talks]
        assert assistant.load.pooled == 2
        seats = [assistant.sit()]
        assert assistant.load.pooled == 2
        seats.append(assistant.sit())  # there is room for three in all
        assert assistant.load.pooled == 1
        text, last = answered[2]
        assert request(assistant, talks[2], assistant_says(text), user("Yes?"))[1] == last
        text, gone = answered[1]
        assert request(assistant, talks[1], assistant_says(text), user("Yes?"))[1] != gone


def test_kept_conversations_are_let_go_of_when_idle(omni: Omni) -> None:
    with Assistant(omni, Limits(idle_s=0.05)) as assistant:
        request(assistant, user("Hello"))
        until(lambda: assistant.load.pooled == 0)


def test_a_request_that_fails_leaves_nothing(omni: Omni) -> None:
    with Assistant(omni) as assistant:
        with pytest.raises(ZeroDivisionError), assistant.borrowed([]):
            raise ZeroDivisionError
        assert assistant.load.pooled == assistant.load.sessions == 0
        with assistant.borrowed([]) as seat:
            assistant.close()  # meanwhile
            assert assistant.load.sessions == 0
        assert assistant.load.pooled == 0 and not len(seat.session.memory)
