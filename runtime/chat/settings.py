"""What a chat asks of whoever answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omnijet.runtime.chat.playback import RATE_HZ
from omnijet.runtime.voice.detector import Pauses


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a conversation.

    Attributes:
        voice: who speaks; None leaves it to the server.
        instructions: the system prompt; None leaves it to the server.
        speech: whether replies are spoken.
        pauses: when speech begins and ends; None where the user says so with a key.
    """

    voice: str | None = None
    instructions: str | None = None
    speech: bool = True
    pauses: Pauses | None = None

    def session(self) -> dict[str, Any]:
        """Returns the `session` of a `session.update` event."""
        sound = {"type": "audio/pcm", "rate": RATE_HZ}
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio" if self.speech else "text"],
            "audio": {"input": {"format": sound, "turn_detection": self._turn_detection()}},
        }
        if self.speech:
            session["audio"]["output"] = {"format": sound}
            if self.voice is not None:
                session["audio"]["output"]["voice"] = self.voice
        if self.instructions is not None:
            session["instructions"] = self.instructions
        return session

    def _turn_detection(self) -> dict[str, Any] | None:
        if self.pauses is None:
            return None
        return {
            "type": "server_vad",
            "threshold": self.pauses.threshold,
            "prefix_padding_ms": self.pauses.prefix_ms,
            "silence_duration_ms": self.pauses.silence_ms,
            "create_response": True,
            "interrupt_response": True,
        }
