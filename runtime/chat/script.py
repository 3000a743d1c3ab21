"""Recordings as questions, each asked when the reply before has sounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.tape import Tape
from omnijet.runtime.errors import OmnijetError

GRACE_S = 1.0  # between what was heard last and a speech that begins, at the latest
PATIENCE_S = 300.0  # without any news: as long as a server lets a turn take


class Script:
    """Plays recordings one after another. One thread uses it.

    Args:
        tape: what plays them.
        names: of the recordings.
        push_to_talk: whether the end of a recording ends the question; else a pause does.
        clock: in seconds.

    Attributes:
        unheard: the names of recordings in which no speech was found.
        is_over: whether the last reply has sounded.
    """

    def __init__(
        self,
        tape: Tape,
        names: Sequence[str],
        push_to_talk: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unheard: list[str] = []
        self.is_over = False
        self._tape, self._names, self._push_to_talk = tape, list(names), push_to_talk
        self._clock = clock
        self._name: str | None = None
        self._has_asked = False
        self._turns = 0  # before this recording
        self._since = clock()  # when something happened last
        self._seen = 0

    def step(self, dialog: Dialog) -> None:
        """Goes on where the conversation allows it.

        Raises:
            OmnijetError: whoever answers is silent for too long.
        """
        if dialog.events != self._seen:
            self._seen, self._since = dialog.events, self._clock()
        if self._name is None:
            self._begin(dialog)
        elif self._tape.is_over and not self._has_asked:
            self._has_asked = True
            if self._push_to_talk:
                dialog.end_speech(self._clock())
            else:
                dialog.ask_whether_read()
        elif self._has_asked:
            self._follow(dialog)

    def _begin(self, dialog: Dialog) -> None:
        if not self._names:
            self.is_over = True
            return
        self._name, self._has_asked = self._names.pop(0), False
        self._turns, self._since = dialog.turns, self._clock()
        self._tape.next()

    def _follow(self, dialog: Dialog) -> None:
        """Ends the question when its reply was heard, or when there is none."""
        waited = self._clock() - self._since
        if dialog.is_busy:
            if waited > PATIENCE_S:
                raise OmnijetError(
                    "whoever answers has said nothing for too long",
                    expected=f"an event in {PATIENCE_S:g} s",
                    got="none",
                )
        elif dialog.turns > self._turns:
            self._name = None
        elif waited > GRACE_S and dialog.was_read:
            assert self._name is not None
            self.unheard.append(self._name)
            self._name = None
        elif waited > PATIENCE_S:
            raise OmnijetError("whoever answers reads no sound", got="no event")
