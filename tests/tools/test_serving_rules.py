"""The tools that try a server find what they are for: each rule can be broken."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from tools.serving import abuse, chat, judged
from tools.serving.attempt import Wrong, told, unclear
from tools.serving.churn import Found as Churned
from tools.serving.churn import report as churn_report
from tools.serving.heard import CODE_SAMPLES, Heard, Kind
from tools.serving.questions import Question
from tools.serving.raw import Answer, frame
from tools.serving.service import Reading, Service
from tools.serving.talk import Reply

CODES = 60
PCM = bytes(2 * CODE_SAMPLES * CODES)


def heard(number: int = 0, kind: Kind = "chat", **fields: Any) -> Heard:
    """Returns a turn without a fault."""
    pcm = np.full(CODE_SAMPLES * CODES, number, "<i2").tobytes()
    found = Heard(
        f"client {number}", kind, "one two", "one two", pcm, CODES, 1.0, 2.0, [f"id {number}"]
    )
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def broken(found: judged.Found) -> list[str]:
    """Returns the names of the rules that a run broke, that of the recogniser aside."""
    rules = judged.report(found, 2).rules
    return [rule.name for rule in rules if not rule.holds and "recogniser" not in rule.name]


def test_a_whole_answer_has_no_fault() -> None:
    turn = heard()
    turn.judge()
    assert turn.is_whole


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "one three"}, "one three"),
        ({"pcm": PCM[:-2]}, "no whole codes"),
        ({"codes": CODES + 1}, "61"),
        ({"pcm": PCM[: 2 * CODE_SAMPLES], "codes": 1}, "0.02 s"),
        ({"pcm": b"", "codes": None}, "0.00 s"),
    ],
)
def test_a_wrong_or_cut_answer_is_found(fields: dict[str, Any], said: str) -> None:
    turn = heard(**fields)
    turn.judge()
    assert said in "; ".join(turn.faults)


@pytest.mark.parametrize("header", [None, "", "soon", "0", "-1", "1.5"])
def test_a_refusal_must_say_when_to_come_again(header: str | None) -> None:
    turn = heard()
    turn.refused(header)
    assert turn.faults
    assert turn.retry_s == 1.0


def test_a_good_run_breaks_no_rule() -> None:
    kinds: tuple[Kind, ...] = ("chat", "chat stream", "realtime")
    turns = [heard(n, kind) for n, kind in enumerate(kinds * 2)]
    memory = [(float(second), 500 << 20) for second in range(30)]
    crowd = [heard(9), heard(10, retry_s=1.0, pcm=b"", ids=[])]
    assert broken(judged.Found(turns, memory, crowd)) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda found: found.turns.append(heard(1, ids=["other"])), "sounds that two"),
        (lambda found: found.turns.append(heard(7, ids=["id 1"])), "ids that two"),
        (lambda found: found.turns.append(heard(7, faults=["lost"])), "turns with a wrong"),
        (lambda found: found.memory.extend([(40.0, 900 << 20)] * 9), "memory"),
        (lambda found: found.turns.append(heard(7, "chat stream", first_pcm_s=3.1)), "slowest"),
        (lambda found: found.crowd.pop(), "a crowd"),
        (lambda found: found.crowd.append(heard(8, faults=["hang"])), "a crowd"),
    ],
)
def test_each_rule_of_a_load_can_be_broken(
    change: Callable[[judged.Found], object], rule: str
) -> None:
    turns = [heard(n, "chat stream") for n in range(4)]
    memory = [(float(second), 500 << 20) for second in range(30)]
    found = judged.Found(turns, memory, [heard(9), heard(10, retry_s=1.0, pcm=b"", ids=[])])
    assert broken(found) == []
    change(found)
    assert any(name.startswith(rule) for name in broken(found))


def events(**changes: Any) -> list[dict[str, Any]]:
    """Returns the events of a good reply, some of them changed or left out."""
    delta = base64.b64encode(PCM[: len(PCM) // 2]).decode()
    sound = {"type": "response.output_audio.delta", "response_id": "resp_1", "delta": delta}
    word = {"type": "response.output_audio_transcript.delta", "response_id": "resp_1"}
    part = {"type": "output_audio", "transcript": changes.pop("held", "one two")}
    done = {"id": "resp_1", "status": changes.pop("status", "completed"),
            "output": [{"id": "item_1", "content": [part]}],
            "usage": {"output_token_details": {"audio_tokens": CODES}}}  # fmt: skip
    return [
        {"type": "response.created", "response": {"id": "resp_1"}},
        word | {"delta": "one "},
        sound,
        word | {"delta": "two"},
        sound,
        {"type": "response.output_audio.done", "response_id": "resp_1"},
        {"type": "response.output_audio_transcript.done", "response_id": "resp_1",
         "transcript": "one two"},
        {"type": "response.done", "response": done},
    ]  # fmt: skip


FAULT = {"code": "invalid_value", "message": "no such field"}
BUSY = {"code": "busy_queue", "message": "too many turns wait; try again in 7 s"}


def taken(sequence: list[dict[str, Any]]) -> Heard:
    """Returns what a client makes of events."""
    turn = Heard("talker", "realtime", "one two")
    reply = Reply(turn)
    for number, event in enumerate(sequence):
        reply.take(event, float(number))
    assert reply.is_done
    turn.judge()
    return turn


def test_a_good_reply_is_put_together() -> None:
    turn = taken(events())
    assert turn.is_whole
    assert turn.pcm == PCM
    assert turn.first_pcm_s == 2.0
    assert turn.ids == ["resp_1", "item_1"]


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ([*events()[:2], events()[1], *events()[2:]], "not the sum"),
        ([*events()[:6], events()[4], *events()[6:]], "after response.output_audio.done"),
        ([*events()[:4], *events()[5:]], "codes"),
        ([events()[0], *events()], "response.created twice"),
        (events()[1:], "before its response"),
        ([*events()[:3], events()[3] | {"response_id": "resp_2"}, *events()[4:]], "another"),
        (events(status="cancelled"), "cancelled"),
        (events(held="one three"), "one three"),
        ([*events()[:2], {"type": "error", "error": FAULT}, *events()[2:]], "no such field"),
    ],
)
def test_a_lost_doubled_or_foreign_event_is_found(
    sequence: list[dict[str, Any]], said: str
) -> None:
    assert said in "; ".join(taken(sequence).faults)


@pytest.mark.parametrize(("message", "seconds"), [(BUSY["message"], 7.0), ("come later", None)])
def test_a_spoken_turn_without_a_place_is_told_when_to_come_again(
    message: str, seconds: float | None
) -> None:
    turn = Heard("talker", "realtime", "one two")
    reply = Reply(turn)
    for event in (
        events()[0],
        {"type": "error", "error": BUSY | {"message": message}},
        events(status="failed")[-1],
    ):
        reply.take(event, 0.0)
    assert reply.is_done
    assert turn.retry_s == (seconds or 1.0)
    assert bool(turn.faults) == (seconds is None)


def test_what_is_left_beyond_the_start_is_named() -> None:
    start = Reading(100, 7, {"socket": 2, "/x": 1}, ("a",), 1)
    assert replace(start, resident=900, threads=6).beyond(start) == []
    more = Reading(100, 9, {"socket": 3, "pipe": 1}, ("a", "b"), 2)
    assert more.beyond(start) == [
        "2 threads", "1 x socket", "1 x pipe", "file b", "1 sessions"
    ]  # fmt: skip
    assert not churn_report(Churned(left=["2 threads"]), 1).holds
    assert churn_report(Churned(), 1).holds


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (Answer(500, {}, b'{"error": {"message": "stop", "type": "x"}}'), "stop"),
        (Answer(200, {}, b"{}"), None),
        (Answer(400, {}, b"Bad Request"), None),
        (Answer(400, {}, b'{"error": {"message": "", "type": "x"}}'), None),
        (Answer(400, {}, b'{"error": {"message": "wrong stopper", "type": "x"}}'), "stop"),
        (Answer(), None),
    ],
)
def test_a_refusal_that_is_not_clear_is_found(answer: Answer, field: str | None) -> None:
    with pytest.raises(Wrong):
        told(answer, field)


def test_a_clear_refusal_names_the_field() -> None:
    body = b'{"error": {"message": "expected a list", "type": "x", "param": "messages[0].stop"}}'
    assert told(Answer(400, {}, body), "stop") == "400"
    assert unclear({"message": "tools[0].name is none", "type": "x"}, "name") is None


def test_a_frame_is_masked_as_the_protocol_says() -> None:
    for size in (0, 3, 125, 126, 70_000):
        content = Random(size).randbytes(size)
        made = frame(content)
        start = 2 + (0 if size < 126 else 2 if size < 1 << 16 else 8)
        key, masked = made[start : start + 4], made[start + 4 :]
        assert bytes(byte ^ key[n % 4] for n, byte in enumerate(masked)) == content


def test_attempts_are_of_all_kinds_and_made_again_from_the_seed() -> None:
    names = [(kind, one.name) for kind, one in abuse.attempts_of(500, 1, list(abuse.KINDS))]
    again = [(kind, one.name) for kind, one in abuse.attempts_of(500, 1, list(abuse.KINDS))]
    assert names == again
    assert {kind for kind, _ in names} == {*abuse.KINDS, abuse.IDLE}


async def served(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ask: Callable[[Service], Awaitable[Any]],
) -> Any:
    """Asks a server of a few lines."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await ask(Service(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("status", ["500 Oops", "200 OK"])
def test_a_server_that_refuses_nothing_breaks_the_rules_of_abuse(status: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        writer.close()

    names = [kind for kind in abuse.KINDS if kind not in ("slow and half", "damaged media")]
    attempts = abuse.attempts_of(100, 0, names)
    found = asyncio.run(served(answer, lambda server: abuse.tried(server, attempts)))
    assert len(found.faults) > 0.9 * len(attempts)


def test_a_server_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abuse, "LONGEST_S", 0.2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    attempts = abuse.attempts_of(6, 0, ["bodies"])
    found = asyncio.run(served(answer, lambda server: abuse.tried(server, attempts)))
    assert len(found.hangs) == len(attempts)


def _chunk(**delta: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return "data: " + json.dumps({"id": delta.pop("id", "chat_1"), "choices": [choice]}) + "\n\n"


SOUND = {"id": "audio_1", "data": base64.b64encode(PCM).decode()}
WORDS = {"id": "audio_1", "transcript": "one two"}
LAST = 'data: {"id": "chat_1", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([_chunk(audio=WORDS), _chunk(audio=SOUND), LAST, DONE], ""),
        ([_chunk(audio=WORDS), _chunk(audio=SOUND), DONE], "finished by []"),
        ([_chunk(audio=WORDS), _chunk(audio=SOUND), LAST], "without an end"),
        ([_chunk(audio=WORDS), _chunk(id="chat_2", audio=SOUND), LAST, DONE], "2 ids"),
        ([_chunk(audio=WORDS), _chunk(audio=SOUND | {"id": "audio_2"}), LAST, DONE], "2 of sound"),
        ([_chunk(audio=WORDS), _chunk(audio=SOUND), LAST, _chunk(audio=SOUND), DONE], "after"),
        ([_chunk(audio=WORDS), _chunk(audio=WORDS), _chunk(audio=SOUND), LAST, DONE], "said"),
        (['data: {"error": {"message": "x"}}\n\n', DONE], "an error in the stream"),
    ],
)
def test_a_stream_that_is_mixed_up_or_cut_is_found(lines: list[str], said: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write((head + "".join(lines)).encode())
        await writer.drain()
        writer.close()

    async def ask(server: Service) -> Heard:
        question = Question(np.zeros(1600, np.float32), "one two")
        async with chat.client(server) as http:
            return await chat.ask(http, question, "asker", streams=True)

    turn: Heard = asyncio.run(served(answer, ask))
    if said:
        assert said in "; ".join(turn.faults)
    else:
        assert turn.is_whole
