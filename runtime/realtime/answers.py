"""Cuts what the conversation remembers of a spoken answer at what was heard."""

from __future__ import annotations

from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.items import Item
from omnijet.runtime.realtime.sound_format import SPOKEN_HZ
from omnijet.runtime.realtime.stage import Stage

SAMPLES_PER_MS = SPOKEN_HZ // 1000


def cut_answer(stage: Stage, item: Item, samples: int) -> None:
    """Makes the conversation hold the words that had sounded, or gives words back.

    Args:
        item: a spoken answer that has ended.
        samples: how many were heard, at 24 kHz from the first.
    """
    assert item.spoken is not None
    text = item.spoken.heard_by(samples, item.pace)
    stage.history.read(item, Message("assistant", text) if text else None)
    item.facts["content"] = [{"type": "output_audio", "transcript": text}]


def require_sound(item: Item, audio_end_ms: int) -> None:
    """Raises `Fault` unless an item has so much sound."""
    if item.paced is None:
        raise Fault(
            f"{item.id!r} is no spoken answer: only these have sound to cut",
            "invalid_value", "item_id",
        )  # fmt: skip
    sent_ms = -(-item.paced.sent // SAMPLES_PER_MS)
    if audio_end_ms > sent_ms:
        raise Fault(
            f"audio_end_ms {audio_end_ms}: the item has {sent_ms} ms of sound",
            "invalid_value", "audio_end_ms",
        )  # fmt: skip


def truncate(stage: Stage, item: Item, audio_end_ms: int) -> None:
    """Cuts an answer that has ended where its client says, and tells it."""
    if item.paced is not None:
        item.paced.stop()
    if item.spoken is not None:  # else it ended before anything of it was heard
        cut_answer(stage, item, audio_end_ms * SAMPLES_PER_MS)
    tell_cut(stage, item, audio_end_ms)


def tell_cut(stage: Stage, item: Item, audio_end_ms: int) -> None:
    """Tells the client where an answer was cut."""
    stage.outbox.send(
        "conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=audio_end_ms
    )


def cut_what_sounds(stage: Stage) -> None:
    """Cuts the last answer at what has sounded by now, if it still sounds."""
    for item in reversed(stage.history.items()):
        if item.paced is None or item.status == "in_progress":
            continue
        if item.spoken is not None and not item.paced.is_over:
            played = item.paced.played()
            item.paced.stop()
            cut_answer(stage, item, played)
            tell_cut(stage, item, played // SAMPLES_PER_MS)
        return
