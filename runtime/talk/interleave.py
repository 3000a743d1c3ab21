"""Thinker and Talker take turns: the Talker asks for text only when it needs some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.thinker import TextStep

Speak = Callable[[int, Array, Iterator[Array]], Iterator[int]]
"""Codec tokens from the first text token, its reply row, and the rows that follow, which
are read one by one as they are needed."""


def interleave(text: Iterator[TextStep], speak: Speak | None) -> Iterator[TextStep | int]:
    """Yields text steps and codec tokens (ints) in the order in which they are made.

    The Talker starts as soon as the first text token was fed. Before each further code it waits
    for one more text token, so it never reads a pad mark while the Thinker still writes. Text that
    is longer than the speech follows at the end. A reply of a single token is not spoken.
    """
    fresh: deque[TextStep] = deque()

    def rows() -> Iterator[Array]:
        for step in text:
            fresh.append(step)
            if step.reply_row is not None:
                yield step.reply_row

    def drained() -> Iterator[TextStep]:
        while fresh:
            yield fresh.popleft()

    following = rows()
    first_row = next(following, None)
    first = fresh[0] if fresh else None
    yield from drained()
    if speak is not None and first is not None and first_row is not None:
        for code in speak(first.token, first_row, following):
            yield from drained()
            yield code
    for _ in following:
        yield from drained()
    yield from drained()
