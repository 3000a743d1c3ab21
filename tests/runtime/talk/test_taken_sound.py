"""What was fed as sound can be taken out, and put into a message of its own."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import Message, Text
from tests.runtime.talk.asking import LIMITS, RATE_HZ, sound


def test_a_message_of_taken_sound_goes_on_from_what_was_prefilled(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = sound(5.3, seed=4)
    session = omni.session(system=None)
    for piece in np.array_split(heard, 37):
        session.feed_audio(piece)
    taken = session.take_sound()
    assert taken is not None and not session.heard.size and session.take_sound() is None
    chunks = []
    encode = type(omni.model.ears).encode

    def noted(self, mels, check=lambda: None):
        chunks.append(sum(mel.shape[1] for mel in mels))
        return encode(self, mels, check)

    monkeypatch.setattr(type(omni.model.ears), "encode", noted)
    question = Message("user", (taken, Text("What do you hear?")))
    with session.stream(question, preset="fast", **LIMITS) as stream:
        list(stream)
    assert chunks == [130]  # of 530 mel frames: the others were encoded while it was fed
    assert session.messages[0] is question
    parts = [
        {"type": "audio", "audio": (heard, RATE_HZ)},
        {"type": "text", "text": "What do you hear?"},
    ]
    plain = omni.generate([{"role": "user", "content": parts}], system=None, **LIMITS)
    assert (stream.reply.text_ids, stream.reply.codes) == (plain.text_ids, plain.codes)


def test_sound_that_is_too_short_is_told_and_forgotten(omni: Omni) -> None:
    session = omni.session(system=None)
    session.feed_audio(sound(0.01))
    with pytest.raises(OmnijetError, match="too short"):
        session.take_sound()
    assert not session.heard.size
