"""What is to sound: a buffer between the pieces that come and the samples that a device takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.transport import Put, Sounding

RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class Cut:
    """A reply that was stopped.

    Attributes:
        item: which.
        played: how many of its samples sounded.
    """

    item: str
    played: int


@dataclass(slots=True, eq=False)
class _Track:
    """The sound of one item.

    Attributes:
        item: its identifier.
        waiting: pieces that no device has taken yet.
        given: (when, how many) samples a device took, in samples of its clock.
        is_whole: whether no more comes.
    """

    item: str
    waiting: deque[Array] = field(default_factory=deque)
    given: list[list[int]] = field(default_factory=list)
    is_whole: bool = False

    @property
    def buffered(self) -> int:
        return sum(len(piece) for piece in self.waiting)

    def played(self, until: int) -> int:
        """Returns how many samples had left the device at a moment of its clock."""
        return sum(min(max(until - start, 0), count) for start, count in self.given)

    @property
    def taken(self) -> int:
        return sum(count for _, count in self.given)


class Playback:
    """Gives a device its samples, without gaps as long as enough has come.

    A reply begins when `jitter` samples of it are there, or all of it; after a gap it waits for as
    many again. Samples are counted as they leave the device, which is `delay` after it took them.

    Threads: any thread may call any method; none waits.

    Args:
        put: told when an item begins to sound.
        jitter: samples at 24 kHz.
        clock: in seconds.

    Attributes:
        delay: samples between a device and an ear; whoever opens a device sets it.
        gaps: how often a reply ran dry before its end.
    """

    def __init__(
        self, put: Put, jitter: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.delay = 0
        self.gaps = 0
        self._put, self._jitter, self._time = put, jitter, clock
        self._changing = threading.Lock()
        self._tracks: deque[_Track] = deque()
        self._clock = 0  # samples that the device took, silence included
        self._flows = False

    def add(self, item: str, samples: Array) -> None:
        """Adds f32[n] in [-1, 1] at 24 kHz to an item's sound."""
        with self._changing:
            self._track(item).waiting.append(samples)

    def finish(self, item: str) -> None:
        """Says that no more comes of an item."""
        with self._changing:
            for track in self._tracks:
                if track.item == item:
                    track.is_whole = True

    def pull(self, count: int) -> Array:
        """Returns f32[count] for the device: what is to sound next, and zeros after it."""
        made = np.zeros(count, np.float32)
        begun = []
        with self._changing:
            filled = 0
            while filled < count and (track := self._next()) is not None:
                if not track.given:
                    begun.append(Sounding(track.item, self._time() + self.delay / RATE_HZ))
                taken = self._take(track, made[filled:], self._clock + filled)
                filled += taken
            self._clock += count
            self._forget_played()
        for news in begun:
            self._put(news)
        return made

    def stop(self) -> list[Cut]:
        """Drops what has not sounded; returns the items that were cut."""
        with self._changing:
            self._forget_played()
            until = self._clock - self.delay
            cuts = [Cut(track.item, track.played(until)) for track in self._tracks]
            self._tracks.clear()
            self._flows = False
            return cuts

    @property
    def sounds(self) -> bool:
        """Whether something is being heard, or will be."""
        with self._changing:
            self._forget_played()
            return bool(self._tracks)

    @property
    def buffered(self) -> int:
        """Samples that can be pulled now without a gap."""
        with self._changing:
            return sum(track.buffered for track in self._tracks if self._may_begin(track))

    def _track(self, item: str) -> _Track:
        for track in self._tracks:
            if track.item == item:
                return track
        self._tracks.append(_Track(item))
        return self._tracks[-1]

    def _next(self) -> _Track | None:
        """Returns whose samples come next; None while more must come first."""
        for track in self._tracks:
            if track.waiting:
                return track if self._may_begin(track) else None
            if not track.is_whole:
                if self._flows:
                    self._flows, self.gaps = False, self.gaps + 1
                return None
        self._flows = False
        return None

    def _may_begin(self, track: _Track) -> bool:
        enough = track.is_whole or track.buffered >= self._jitter
        self._flows = self._flows or enough
        return self._flows

    def _take(self, track: _Track, into: Array, at: int) -> int:
        piece = track.waiting.popleft()
        count = min(len(piece), len(into))
        into[:count] = piece[:count]
        if count < len(piece):
            track.waiting.appendleft(piece[count:])
        if track.given and sum(track.given[-1]) == at:
            track.given[-1][1] += count
        else:
            track.given.append([at, count])
        return count

    def _forget_played(self) -> None:
        """Forgets the items that were heard to their end."""
        until = self._clock - self.delay
        while self._tracks:
            first = self._tracks[0]
            if not first.is_whole or first.waiting or first.played(until) < first.taken:
                return
            self._tracks.popleft()
