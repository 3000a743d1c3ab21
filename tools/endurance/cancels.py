"""Turns that are cut off at any moment, in every way that a user has.

After each cut the conversation must answer like one that was never cut off.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from random import Random

from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.stream import Stream
from tools.endurance.questions import Question, Questions
from tools.endurance.resident import wait_for, workers

PROBE = "Which colour?"
PROBED = {"seed": 5, "greedy": True, "max_text_tokens": 8, "max_codes": 24}
MOST_EVENTS, LONGEST_DELAY = 12, 0.4  # before the cut; seconds
GONE_WITHIN = 5.0  # seconds after the cut


class ReaderDied(Exception):
    """An error that a reader raises in its own thread."""


class Cut:
    """The moment of a cut.

    Args:
        events: The number of events to read before it.
        delay: Seconds to wait after them.

    Attributes:
        at: The time of the cut on the monotonic clock.
    """

    def __init__(self, events: int, delay: float) -> None:
        self.events, self.delay = events, delay
        self.at = 0.0

    def come(self, stream: Stream) -> None:
        for _ in islice(stream, self.events):
            pass
        time.sleep(self.delay)
        self.at = time.monotonic()


class Cancels:
    """The cuts of one run.

    Attributes:
        counts: How often each way was taken, and how often a reply had begun by then.
        slowest: The longest time in seconds from a cut until the last thread had ended.
    """

    def __init__(self, omni: Omni, questions: Questions, rng: Random) -> None:
        self.omni = omni
        self.questions = questions
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self._rng = rng
        self._session = omni.session(overflow="drop oldest")

    def take(self) -> list[str]:
        """Makes one cut and returns the faults after it."""
        rng, session = self._rng, self._session
        if rng.random() < 0.1:
            session.reset()
        name = rng.choice(list(WAYS))
        self.counts[name] += 1
        # short delays reach the most stages
        cut = Cut(rng.choice((0, 0, rng.randrange(MOST_EVENTS))), LONGEST_DELAY * rng.random() ** 3)
        running = WAYS[name](session, self.questions.next(), cut)
        faults = []
        if running is None:
            wait_for(lambda: not workers(), GONE_WITHIN)
            took = time.monotonic() - cut.at
            self.slowest = max(self.slowest, took)
            if workers() or took > GONE_WITHIN:
                faults.append(f"{name}: {workers() or 'all gone'} {took:.1f} s after the cut")
            if workers():  # a turn beside threads that still write proves nothing
                return faults
        reply = session.generate(PROBE, **PROBED)  # ends what is still running
        if left := workers():
            faults.append(f"{name}: {left} there after the next turn")
        fresh = self._as_if_fresh(session)
        if (reply.text_ids, reply.codes) != (fresh.text_ids, fresh.codes):
            faults.append(
                f"{name} after {cut.events} events and {cut.delay:.3f} s: the next reply is "
                f"{reply.text!r} with {len(reply.codes)} codes, that of a fresh session "
                f"{fresh.text!r} with {len(fresh.codes)}"
            )
        return faults

    def reset(self) -> None:
        """Ends the conversation."""
        self._session.reset()

    def _as_if_fresh(self, session: Session) -> Reply:
        """Returns the probe's reply in a new session with the same history."""
        messages = session.messages
        # the answer follows, unless it had no word
        place = max(n for n, message in enumerate(messages) if message.role == "user")
        history = messages[:place]
        assert messages[place].content == PROBE
        if history and history[-1].role == "assistant":
            self.counts["something was written"] += 1
        with self.omni.session(overflow="drop oldest") as fresh:
            fresh.messages = history
            return fresh.generate(PROBE, **PROBED)


def _cancel(session: Session, question: Question, cut: Cut) -> None:
    stream = session.stream(question.content, **question.options)
    cut.come(stream)
    stream.cancel()


def _leave_block(session: Session, question: Question, cut: Cut) -> None:
    with session.stream(question.content, **question.options) as stream:
        cut.come(stream)


def _drop(session: Session, question: Question, cut: Cut) -> None:
    stream = session.stream(question.content, **question.options)
    cut.come(stream)
    del stream


def _reader_dies(session: Session, question: Question, cut: Cut) -> None:
    def read() -> None:
        stream = session.stream(question.content, **question.options)
        cut.come(stream)
        raise ReaderDied

    hook, threading.excepthook = threading.excepthook, _quietly
    try:
        thread = threading.Thread(target=read, name="reader")
        thread.start()
        thread.join()
    finally:
        threading.excepthook = hook


def _quietly(death: threading.ExceptHookArgs) -> None:
    if not isinstance(death.exc_value, ReaderDied):
        threading.__excepthook__(death)


def _from_another_thread(session: Session, question: Question, cut: Cut) -> None:
    """Cancels from a second thread; the reader goes on as soon as it finds the end."""
    stream = session.stream(question.content, **question.options)
    thread = threading.Thread(target=_cancel_at, args=(stream, cut), name="canceller")
    thread.start()
    for _ in stream:
        pass
    assert not workers(), "the reader found the end before the workers were gone"
    thread.join()


def _cancel_at(stream: Stream, cut: Cut) -> None:
    time.sleep(cut.delay)
    cut.at = time.monotonic()
    stream.cancel()


def _next_turn(session: Session, question: Question, cut: Cut) -> Stream:
    stream = session.stream(question.content, **question.options)
    cut.come(stream)
    return stream


WAYS: dict[str, Callable[[Session, Question, Cut], Stream | None]] = {
    "cancel": _cancel,
    "left the block": _leave_block,
    "dropped": _drop,
    "reader died": _reader_dies,
    "another thread": _from_another_thread,
    "next turn": _next_turn,
}
