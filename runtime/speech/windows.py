"""Window schemes as data: which frames of an utterance are synthesized next.

Source of the official scheme: `qwen2_code2wav_dit.py` of fyabc/vllm, with 48 mel frames of past,
72 of chunk and 24 of future.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """One window in absolute mel frames: start..stop are computed, begin..end are committed."""

    start: int
    begin: int
    end: int
    stop: int


@dataclass(frozen=True, slots=True)
class Windows:
    """A window scheme.

    Attributes:
        chunks: attention blocks that the first, second, ... window commits; the last number
            repeats.
        ahead: blocks that are computed after the chunk and then dropped.
        past: blocks before the chunk that are computed again. With 0, the keys and values of the
            last committed block are carried instead, which is exact and costs nothing.
    """

    name: str
    chunks: tuple[int, ...]
    ahead: int
    past: int = 0

    def __post_init__(self) -> None:
        assert self.chunks and min(self.chunks) > 0 and self.ahead >= 0 and self.past >= 0, self

    @property
    def carries(self) -> bool:
        return self.past == 0

    def opening(self, block: int) -> int:
        """Returns the frames that the first window needs before anything sounds."""
        return block * (self.chunks[0] + self.ahead)

    def window(self, number: int, begin: int, known: int, block: int, last: bool) -> Window | None:
        """Returns the window to compute now, or None while codes are missing.

        The limits of full windows do not depend on `known`, so the sound is the same however
        the codes arrive.

        Args:
            number: windows done.
            begin: frames done.
            known: frames whose codes have arrived.
            block: frames of an attention block.
            last: whether all codes have arrived.
        """
        start = max(begin - self.past * block, 0)
        end = begin + block * self.chunks[min(number, len(self.chunks) - 1)]
        stop = end + block * self.ahead
        if known >= stop:
            return Window(start, begin, end, stop)
        if last and known > begin:
            return Window(start, begin, known, known)
        return None


OFFICIAL = Windows("official", chunks=(3,), ahead=1, past=2)
GROWING = Windows("growing", chunks=(1, 2, 4, 8), ahead=1)
SCHEMES = (OFFICIAL, GROWING)
