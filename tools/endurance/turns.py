"""The turns of a long run: single questions, and conversations.

Conversations are reset, forked, and outgrow their cache.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.stream import Stream
from tools.endurance.questions import Question, Questions, pieces

SESSIONS = 3
CONTEXT = 1024  # cache rows; a conversation of a dozen turns outgrows them


class Turns:
    """The conversations of one run, and their turns.

    Attributes:
        counts: How often each kind of turn happened.
    """

    def __init__(self, omni: Omni, questions: Questions, rng: Random) -> None:
        self.omni = omni
        self.questions = questions
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._sessions = [omni.session(overflow="drop oldest") for _ in range(SESSIONS)]

    def take(self) -> None:
        """Takes one turn and reads it to its end."""
        question = self.questions.next()
        self.counts[question.kind] += 1
        if self._rng.random() < 0.4:
            self.counts["without a session"] += 1
            self._read(self.omni.stream(question.messages, **question.options), question)
        else:
            self._converse(question)

    def reset(self) -> None:
        """Ends all conversations, so that memory does not depend on their lengths."""
        for session in self._sessions:
            session.reset()

    def _converse(self, question: Question) -> None:
        rng, place = self._rng, self._rng.randrange(SESSIONS)
        session = self._sessions[place]
        if rng.random() < 0.05:
            self.counts["resets"] += 1
            session.reset()
        if rng.random() < 0.1:
            self.counts["forks"] += 1
            session = self._sessions[rng.randrange(SESSIONS)] = session.fork()
        before = len(session.messages)
        self._read(self._asked(session, question), question)
        if settled(session) <= before:
            self.counts["overflows"] += 1

    def _asked(self, session: Session, question: Question) -> Stream:
        if (sound := question.spoken) is None or self._rng.random() < 0.5:
            return session.stream(question.content, **question.options)
        self.counts["listened to"] += 1
        for piece in pieces(sound, self._rng):
            session.feed_audio(piece)
        return session.stream(question.unspoken, **question.options)

    def _read(self, stream: Stream, question: Question) -> None:
        for _ in stream:
            pass
        reply = stream.reply
        assert reply.text_ids, "a reply without a token"
        said = (len(reply.codes) if question.options["speech"] else 0) * 480
        assert reply.audio.size == said, f"{reply.audio.size} samples of {len(reply.codes)} codes"


def settled(session: Session) -> int:
    """Returns the number of messages of a conversation whose last turn was read."""
    with session:
        pass
    return len(session.messages)
