"""Events wait for a slow client within bounds, and nobody waits for one who has left."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from omnijet.runtime.realtime.conversation import Gone
from omnijet.runtime.serve import realtime_outlet
from omnijet.runtime.serve.realtime_outlet import Outlet

WAIT_S = 60.0


def test_a_slow_client_makes_who_sends_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_outlet, "MOST_CHARACTERS", 100)
    sent: list[int] = []

    def send(outlet: Outlet) -> None:
        for number in range(50):
            outlet.put({"type": "x", "number": number})
            sent.append(number)

    async def talk() -> list[int]:
        outlet = Outlet()
        thread = threading.Thread(target=send, args=(outlet,))
        thread.start()
        taken: list[int] = []
        while len(taken) < 50:
            text = await asyncio.wait_for(outlet.take(), WAIT_S)
            assert text is not None
            taken.append(json.loads(text)["number"])
            assert len(sent) <= len(taken) + 6  # 100 characters, and one that was being sent
        await asyncio.to_thread(thread.join, WAIT_S)
        return taken

    assert asyncio.run(talk()) == list(range(50))


def test_shutting_frees_who_waits_and_keeps_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_outlet, "MOST_CHARACTERS", 10)
    found: list[str] = []

    def send(outlet: Outlet) -> None:
        outlet.put({"type": "first"})
        try:
            outlet.put({"type": "second"})
        except Gone:
            found.append("gone")

    async def talk() -> None:
        outlet = Outlet()
        thread = threading.Thread(target=send, args=(outlet,))
        thread.start()
        while not outlet._texts:
            await asyncio.sleep(0.001)
        outlet.put_last({"type": "last"})
        await asyncio.to_thread(thread.join, WAIT_S)
        with pytest.raises(Gone):
            outlet.put_last({"type": "late"})
        texts = [await outlet.take() for _ in range(3)]
        assert [text and json.loads(text)["type"] for text in texts] == ["first", "last", None]

    asyncio.run(talk())
    assert found == ["gone"]
