"""Spoken questions with one right answer, which the model gives in this process, too."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from omnijet.nano.evaluation.heldout import HeldOutItem, open_set
from omnijet.nano.world.words import DIGITS
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT

RATE_HZ, SENT_HZ = 16_000, 24_000
PADS_S = (
    (0.0, 0.0), (0.3, 0.5), (0.1, 0.0), (0.1, 0.4), (0.2, 0.05), (0.2, 0.3), (0.3, 0.1), (0.0, 0.4)
)  # fmt: skip
"""Silence before and after a question, as voice activity may cut it; its answer must not change."""


@dataclass(frozen=True, slots=True)
class Question:
    """A spoken number, and what may be asked about it afterwards.

    Attributes:
        samples: f32[n] at 16 kHz, what is said.
        answer: the words to be answered.
        follow_up: (samples, answer) of a spoken question about it; None: none is known.
    """

    samples: Array
    answer: str
    follow_up: tuple[Array, str] | None = None

    @property
    def wav(self) -> str:
        """The sound as a WAV file, in base64."""
        return wav(self.samples)


def wav(samples: Array) -> str:
    """Returns f32[n] at 16 kHz as a WAV file of 16 bits, in base64."""
    made = io.BytesIO()
    soundfile.write(made, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return base64.b64encode(made.getvalue()).decode()


def pcm16(samples: Array) -> bytes:
    """Returns f32[n] at 16 kHz as 16-bit samples at 24 kHz, as the socket takes them."""
    heard = load_audio((samples, RATE_HZ), sample_rate_hz=SENT_HZ)
    return (np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()


def words(text: str) -> list[str]:
    """Returns the words of an answer, without marks and capitals."""
    return re.findall(r"[a-z]+", text.lower())


def answered(omni: Omni, most: int = 10_000) -> list[Question]:
    """Returns questions of the held-out set with different answers, all answered right here.

    Those with a follow-up come first.
    """
    with open_set() as items:
        numbers = [*_conversations(items), *_numbers(items)]
    found: dict[str, Question] = {}
    for question in numbers:
        if len(found) == most:
            break
        if question.answer not in found and _is_right(omni, question):
            found[question.answer] = question
    return list(found.values())


def _numbers(items: Sequence[HeldOutItem]) -> list[Question]:
    return [
        Question(_sound(item.messages[-1]), item.answer)
        for item in items
        if item.skill == "hear" and set(item.answer.split()) <= set(DIGITS)
    ]


def _conversations(items: Sequence[HeldOutItem]) -> list[Question]:
    """Returns the conversations in which a number is said and then asked about aloud."""
    found = []
    for item in items:
        if item.skill != "converse":
            continue
        first, second = item.messages[1], item.messages[3]
        kinds = [part["type"] for message in (first, second) for part in message["content"]]
        if "image" not in kinds and kinds.count("audio") == 2:
            number = item.messages[2]["content"]
            found.append(Question(_sound(first), number, (_sound(second), item.answer)))
    return found


def _sound(message: dict[str, Any]) -> Array:
    path = next(part["audio"] for part in message["content"] if part["type"] == "audio")
    return load_audio(path)


def _is_right(omni: Omni, question: Question) -> bool:
    return all(_answers(omni, question, pad_s) for pad_s in PADS_S)


def _answers(omni: Omni, question: Question, pad_s: tuple[float, float]) -> bool:
    """Returns whether the model answers right, with silence around what is said."""
    pad = (round(pad_s[0] * SENT_HZ), round(pad_s[1] * SENT_HZ))
    with omni.session(system=SPEECH_SYSTEM_PROMPT) as session:
        turns = [(question.samples, question.answer)]
        turns += [question.follow_up] if question.follow_up else []
        return all(
            words(session.generate([_part(said, pad)], speech=False).text) == words(answer)
            for said, answer in turns
        )


def _part(samples: Array, pad: tuple[int, int]) -> dict[str, Any]:
    """Returns what is said as it arrives over the socket, with silence around it."""
    sent = np.frombuffer(pcm16(samples), "<i2").astype(np.float32) / 32768
    return {"type": "audio", "audio": (np.pad(sent, pad), SENT_HZ)}
