"""What a client heard in one turn, and whether that is the right answer, whole and his own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from omnijet.runtime.bundle.contract import Array
from tools.serving.questions import words

Kind = Literal["chat", "chat stream", "realtime"]

RATE_HZ = 24_000
CODE_SAMPLES = 480  # at the codec's 50 codes a second
WORD_S = (0.12, 1.5)  # how long a spoken word may be


@dataclass(slots=True)
class Heard:
    """One turn as a client saw it.

    Attributes:
        asked: the words that are right.
        text: what was written.
        pcm: 16-bit samples at 24 kHz.
        codes: how many codes the server says it has spoken; None: it does not say.
        first_pcm_s: from the request, or from the end of speech; None without sound.
        ids: that nobody else may get.
        retry_s: when a refusal says to come again; None: not refused.
        faults: what must not be.
    """

    client: str
    kind: Kind
    asked: str
    text: str = ""
    pcm: bytes = b""
    codes: int | None = None
    first_pcm_s: float | None = None
    total_s: float = 0.0
    ids: list[str] = field(default_factory=list)
    retry_s: float | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether it was answered without a fault."""
        return self.retry_s is None and not self.faults

    @property
    def samples(self) -> Array:
        """The sound as f32[n] in [-1, 1]."""
        return np.frombuffer(self.pcm[: len(self.pcm) & ~1], "<i2").astype(np.float32) / 32768

    def refused(self, retry_after: str | None) -> None:
        """Notes a refusal with its header, which must be whole seconds."""
        self.retry_s = 1.0
        if retry_after is None or not retry_after.isdigit() or int(retry_after) < 1:
            self.faults.append(f"a refusal with Retry-After {retry_after}")
        else:
            self.retry_s = float(retry_after)

    def judge(self) -> None:
        """Notes as faults what is wrong with a finished answer."""
        if words(self.text) != words(self.asked):
            self.faults.append(f"said {self.text!r} for {self.asked!r}")
        count, rest = divmod(len(self.pcm), 2 * CODE_SAMPLES)
        if rest:
            self.faults.append(f"{len(self.pcm)} bytes of sound are no whole codes")
        if self.codes is not None and count != self.codes:
            self.faults.append(f"sound of {count} codes, where {self.codes} were said")
        least, most = (seconds * len(words(self.asked)) for seconds in WORD_S)
        if not least <= (seconds := len(self.pcm) / 2 / RATE_HZ) <= most:
            self.faults.append(f"{seconds:.2f} s of sound for {self.asked!r}")

    def __str__(self) -> str:
        return f"{self.client} ({self.kind}, {self.asked!r}): {'; '.join(self.faults)}"
