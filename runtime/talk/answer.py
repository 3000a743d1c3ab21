"""The last answer of a conversation, which is still cut when somebody learns what was heard."""

from __future__ import annotations

from dataclasses import dataclass, replace

from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.talk.heard import Playback, SpokenReply


@dataclass(frozen=True, slots=True)
class Answer:
    """A spoken answer and the message that says what was heard of it.

    Attributes:
        question: what it answers.
        message: the words that were heard; None if there are none.
        reply: all words, with their sound.
        playback: what the stream knows of the listener; it may learn more later.
        noted: samples that `playback` called heard when it was last read.
    """

    question: Message
    message: Message | None
    reply: SpokenReply
    playback: Playback
    noted: int = -1

    def noticed(self, messages: list[Message], letters_per_second: float | None) -> Answer:
        """Cuts the message if the stream has learned what was heard, see `cut`."""
        heard = self.playback.heard
        if heard == self.noted:
            return self
        return replace(self, noted=heard).cut(messages, heard, letters_per_second)

    def cut(
        self, messages: list[Message], samples: int, letters_per_second: float | None
    ) -> Answer:
        """Cuts the message at the words that had sounded, or gives words back.

        Args:
            messages: the conversation; an answer without a word is no message of it.
            samples: how many were heard, from the first of the reply.
            letters_per_second: the speaker's pace.
        """
        text = self.reply.heard_by(samples, letters_per_second)
        message = Message("assistant", text) if text else None
        places = {id(one): place for place, one in enumerate(messages)}
        known = self.question if self.message is None else self.message
        if id(known) not in places:  # somebody took it out of the conversation
            return self
        place = places[id(known)]
        first = place + 1 if self.message is None else place
        messages[first : place + 1] = [] if message is None else [message]
        return replace(self, message=message)
