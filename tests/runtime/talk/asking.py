"""What the tests of sessions ask, and what an answer must equal."""

from __future__ import annotations

import numpy as np

from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.turn import Turn

LIMITS = {"seed": 5, "greedy": True, "max_text_tokens": 8, "max_codes": 30}
RATE_HZ = 16_000


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * RATE_HZ))).astype(np.float32)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)


TURNS = (
    [{"type": "image", "image": picture(1)}, {"type": "text", "text": "What is this?"}],
    [{"type": "audio", "audio": (sound(2.7), RATE_HZ)}],
    "And now?",
    [{"type": "image", "image": picture(2)}, {"type": "text", "text": "What is this?"}],
)


def whole(omni: Omni, session: Session) -> tuple[list[int], list[int]]:
    """The answer to the same conversation given at once: its last reply taken off."""
    asked = Turn.of(omni.model, Options.of(**LIMITS), Clock())
    reply = asked.answer(tuple(session.messages[:-1]))
    return reply.text_ids, reply.codes
