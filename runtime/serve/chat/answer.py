"""Replies as OpenAI's clients read them: whole, or piece by piece."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.dims import TokenIds
from omnijet.runtime.media.sound_bytes import SoundFormat, sound_bytes
from omnijet.runtime.media.wav import pcm16
from omnijet.runtime.serve.chat.called import SaidAndCalled
from omnijet.runtime.talk.reply import FinishReason, Reply

FINISHES: dict[FinishReason | None, str] = {
    "stop": "stop",
    "length": "length",
    "context": "length",
    "codes": "length",
    "cancelled": "length",
}
"""What clients are told: whatever cut a reply short is a limit of length to them."""


def usage(reply: Reply, ids: TokenIds) -> dict[str, Any]:
    """Returns how many tokens were fed and made; a codec token is 20 ms of speech.

    Args:
        ids: of the placeholders of media.
    """
    fed = reply.prompt_ids
    heard = int(np.count_nonzero(fed == ids.audio))
    seen = int(np.count_nonzero((fed == ids.image) | (fed == ids.video)))
    written, spoken = len(reply.text_ids), len(reply.codes)
    prompt = reply.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written + spoken,
        "total_tokens": prompt + written + spoken,
        "prompt_tokens_details": {
            "cached_tokens": reply.reused_tokens,
            "audio_tokens": heard,
            "image_tokens": seen,
            "text_tokens": prompt - heard - seen,
        },
        "completion_tokens_details": {
            "audio_tokens": spoken,
            "text_tokens": written,
            "reasoning_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


@dataclass(slots=True)
class Answer:
    """One reply on its way to a client.

    Attributes:
        id: of the reply.
        model: its name.
        sound: the format of the speech; None: it is not spoken.
        audio_id: what later requests call the spoken reply.
    """

    id: str
    model: str
    sound: SoundFormat | None
    audio_id: str | None
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(
        self,
        reply: Reply,
        said: SaidAndCalled,
        used: dict[str, Any],
        finish: str,
        expires: int | None,
    ) -> dict[str, Any]:
        """Returns the object of a request that is not streamed.

        Args:
            expires: until when the spoken reply is known by its id; None if nothing was spoken.
        """
        message: dict[str, Any] = {
            "role": "assistant", "content": said.text, "refusal": None, "annotations": []
        }  # fmt: skip
        if said.calls:
            message["content"] = said.text or None
            message["tool_calls"] = [call.whole() for call in said.calls]
        if self.sound is not None and expires is not None:
            content = sound_bytes(reply.audio, reply.sample_rate_hz, self.sound)
            message["content"] = None
            message["audio"] = {
                "id": self.audio_id,
                "data": base64.b64encode(content).decode("ascii"),
                "expires_at": expires,
                "transcript": said.text,
            }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion"), "choices": [choice], "usage": used}

    def opening(self) -> dict[str, Any]:
        """Returns the first piece of a stream."""
        delta: dict[str, Any] = {"role": "assistant", "refusal": None}
        if self.sound is None:
            delta["content"] = ""
        return self._piece(delta)

    def text(self, text: str) -> dict[str, Any]:
        """Returns a piece of text, of the transcript if the reply is spoken."""
        if self.sound is None:
            return self._piece({"content": text})
        return self._piece({"audio": {"id": self.audio_id, "transcript": text}})

    def call(self, piece: dict[str, Any]) -> dict[str, Any]:
        """Returns a piece of a call."""
        return self._piece({"tool_calls": [piece]})

    def samples(self, samples: Array) -> dict[str, Any]:
        """Returns a piece of sound: f32[n] as pcm16."""
        data = base64.b64encode(pcm16(samples)).decode("ascii")
        return self._piece({"audio": {"id": self.audio_id, "data": data}})

    def expiry(self, expires: int) -> dict[str, Any]:
        """Returns the piece that says until when the spoken reply is known by its id."""
        return self._piece({"audio": {"id": self.audio_id, "expires_at": expires}})

    def ending(self, finish: str) -> dict[str, Any]:
        """Returns the piece that ends the reply."""
        return self._piece({}, finish)

    def used(self, used: dict[str, Any]) -> dict[str, Any]:
        """Returns the piece after the last, which has the usage."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": used}

    def _piece(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }
