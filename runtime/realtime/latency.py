"""How long a user waits, from the end of the question."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

NAMES = ("first_text", "first_code", "first_pcm")


@dataclass(frozen=True, slots=True)
class Asked:
    """When an answer was asked for, on the clock of `time.perf_counter`.

    Attributes:
        at: when the last of the question came: the sound that ended the speech, or the event.
        pause_ms: how much silence the server had waited through by then; None: nobody spoke.
    """

    at: float
    pause_ms: float | None = None


@dataclass(slots=True)
class Latency:
    """Milliseconds from the asking to `first_text`, `first_code` and `first_pcm`."""

    asked: Asked
    ms: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str, at: float | None = None) -> None:
        """Notes a moment, now by default; the first one of a name counts."""
        moment = time.perf_counter() if at is None else at
        self.ms.setdefault(name, 1e3 * (moment - self.asked.at))

    def metadata(self) -> dict[str, str]:
        """Returns what `response.done` says of it."""
        found = {f"omnijet_{name}_ms": f"{self.ms[name]:.1f}" for name in NAMES if name in self.ms}
        if self.asked.pause_ms is not None:
            found["omnijet_pause_ms"] = f"{self.asked.pause_ms:.0f}"
            if "first_pcm" in self.ms:
                found["omnijet_speech_end_to_first_pcm_ms"] = f"{self.ms['first_pcm']:.1f}"
        return found
