"""The user's side of a conversation: sound comes, speech is found in it and fed at once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import Audio, Part
from omnijet.runtime.realtime.fault import Fault
from omnijet.runtime.realtime.ids import new_id
from omnijet.runtime.realtime.items import Item, spoken_message
from omnijet.runtime.realtime.latency import Asked
from omnijet.runtime.realtime.settings import TurnDetection
from omnijet.runtime.realtime.sound_format import HEARD_HZ, Incoming, SoundFormat
from omnijet.runtime.realtime.speaking import Speaking
from omnijet.runtime.realtime.stage import Stage
from omnijet.runtime.realtime.tape import Tape
from omnijet.runtime.voice.detector import Detector
from omnijet.runtime.voice.open import open_detector

SAMPLES_PER_MS = HEARD_HZ // 1000
LEAST_MS = 100
"""Sound that is committed has at least so much."""
SLACK = HEARD_HZ
"""Samples kept before a prefix: a detector says late where speech has begun."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Speech:
    """What the user is saying.

    Attributes:
        begin: its first sample on the tape.
        fed: up to where the model has it.
        can_be_fed: False after an error.
        version: of the history that it was fed after.
        shown: pictures that it is about.
    """

    begin: int
    fed: int
    id: str = field(default_factory=lambda: new_id("item"))
    can_be_fed: bool = True
    version: int = -1
    shown: tuple[Part, ...] = ()


class Hearing:
    """Takes sound. The conversation's own thread uses it.

    Sound before and after speech is not fed; the pause that ends speech is not either.

    Args:
        said: called with what was said, when it is an item and its answer was begun.
        opens: makes a detector.
    """

    def __init__(
        self,
        stage: Stage,
        speaking: Speaking,
        said: Callable[[Item], None],
        opens: Callable[..., Detector] = open_detector,
    ) -> None:
        self._stage, self._speaking, self._said, self._opens = stage, speaking, said, opens
        self._tape = Tape()
        self._incoming = Incoming(stage.settings.input_format)
        self._speech: _Speech | None = None
        self._detector: Detector | None = None
        self._heard_from = 0  # of the tape, where the detector was opened
        self._detection: TurnDetection | None = None

    def detect(self, detection: TurnDetection | None) -> None:
        """Changes how the end of a turn is found. Speech that has begun is forgotten, and told.

        Raises:
            OmnijetError: the detector's package is not installed.
        """
        pauses = None if detection is None else detection.pauses
        if self._detection is None or pauses != self._detection.pauses:
            opened = None if pauses is None else self._opens(pauses)
            if self._speech is not None:
                self.clear()
            self._detector, self._heard_from = opened, self._tape.end
        self._detection = detection

    def leave(self) -> None:
        """Lets go of what is large: what has ended may wait long for Python's collector."""
        self._detector, self._detection, self._tape = None, None, Tape()

    def take(self, form: SoundFormat, at: float) -> None:
        """Changes the format of what comes."""
        self._add(self._incoming.finish(), at)
        self._incoming = Incoming(form)

    def append(self, data: bytes, at: float) -> None:
        """Takes sound in the format of the session.

        Args:
            at: when it came.

        Raises:
            Fault: more has come than one turn may have.
        """
        if self._detector is None:
            if self._speech is None:
                self._speech = _Speech(self._tape.end, self._tape.end)
            self._require_room(len(data))
        self._add(self._incoming.push(data), at)

    def commit(self, at: float) -> Asked:
        """Ends the user's turn here.

        Raises:
            Fault: there is too little sound; it is kept.
        """
        speech = self._speech
        rest = self._incoming.left if self._detector is None else 0
        size = 0 if speech is None else self._tape.end + rest - speech.begin
        if speech is None or size < LEAST_MS * SAMPLES_PER_MS:
            what = "speech" if self._detector is not None else "sound"
            raise Fault(
                f"the buffer has {size / SAMPLES_PER_MS:.0f} ms of {what}: at least {LEAST_MS} ms "
                "make a turn", "input_audio_buffer_commit_empty",
            )  # fmt: skip
        if self._detector is None:
            self._add(self._incoming.finish(), at)
            self._incoming = Incoming(self._stage.settings.input_format)
        else:
            self._detector.reset()
        self._said(self._finish(speech, self._tape.end))
        return Asked(at, 0.0)

    def clear(self) -> None:
        """Forgets what the user is saying."""
        speech, self._speech = self._speech, None
        if speech is not None:
            self._let_go()
        if self._detector is None:
            self._incoming = Incoming(self._stage.settings.input_format)
        else:
            self._detector.reset()
        self._tape.forget_before(self._tape.end)
        self._stage.outbox.send("input_audio_buffer.cleared")

    def suspend(self) -> None:
        """Takes back what was fed of unfinished speech: a response begins that is not about it."""
        if self._speech is not None and self._speech.fed > self._speech.begin:
            self._let_go()
            self._speech.fed = self._speech.begin

    def catch_up(self) -> None:
        """Feeds what had to wait for the end of a response."""
        if self._speech is not None:
            self._feed(self._speech, self._tape.end - self._held_back())

    def _add(self, samples: Array, at: float) -> None:
        if not samples.size:
            return
        self._tape.add(samples)
        if self._detector is None:
            if self._speech is not None:
                self._feed(self._speech, self._tape.end)
            else:
                self._tape.forget_before(self._tape.end)
            return
        for edge in self._detector.push(samples):
            position = edge.sample + self._heard_from
            if edge.kind == "started":
                self._begin(max(position, self._tape.begin))
            elif self._speech is not None:
                self._stop(self._speech, position, at)
        self._bound(at)

    def _bound(self, at: float) -> None:
        """Feeds speech that goes on, ends one that is too long, forgets what is no speech."""
        assert self._detector is not None and self._detection is not None
        speech = self._speech
        if speech is None:
            prefix = self._detection.pauses.prefix_ms * SAMPLES_PER_MS
            self._tape.forget_before(self._tape.end - prefix - SLACK)
        elif self._tape.end - speech.begin > self._longest():
            self._detector.reset()
            self._stop(speech, self._tape.end, at)
        else:
            self._feed(speech, self._tape.end - self._held_back())

    def _begin(self, position: int) -> None:
        assert self._detection is not None
        speech = self._speech = _Speech(position, position)
        then = self._speaking.interrupt() if self._detection.interrupt_response else None
        self._stage.outbox.send(
            "input_audio_buffer.speech_started",
            audio_start_ms=position // SAMPLES_PER_MS, item_id=speech.id,
        )  # fmt: skip
        if then is not None:
            then()

    def _stop(self, speech: _Speech, position: int, at: float) -> None:
        assert self._detection is not None
        position = max(position, speech.begin)
        self._stage.outbox.send(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=position // SAMPLES_PER_MS, item_id=speech.id,
        )  # fmt: skip
        pause_ms = (self._tape.end - position) / SAMPLES_PER_MS
        if position - speech.begin < LEAST_MS * SAMPLES_PER_MS:
            self._speech = None
            self._let_go()
            return
        try:
            item = self._finish(speech, position)
            if self._detection.create_response:
                self._speaking.answer(self._stage.settings, {}, Asked(at, pause_ms))
            self._said(item)
        except Fault as fault:  # what follows in the same event is heard all the same
            self._stage.outbox.fault(fault)

    def _finish(self, speech: _Speech, stop: int) -> Item:
        """Makes an item of speech."""
        part = self._part(speech, stop)
        self._speech = None
        self._tape.forget_before(stop)
        item = spoken_message(part, speech.id)
        before = self._stage.history.add(item)
        self._stage.outbox.send(
            "input_audio_buffer.committed", item_id=item.id, previous_item_id=before
        )
        self._stage.tell(item, before)
        return item

    def _part(self, speech: _Speech, stop: int) -> Audio:
        """Returns speech as the model reads it, with what was encoded of it."""
        self._feed(speech, stop)
        if speech.fed == stop and not self._speaking.is_active:
            taken = self._stage.seat.session.take_sound()
            if taken is not None:
                return taken
        self._let_go()
        return Audio((self._tape.between(speech.begin, stop), HEARD_HZ))

    def _feed(self, speech: _Speech, stop: int) -> None:
        """Has the model listen, unless it speaks."""
        if stop <= speech.fed or not speech.can_be_fed or self._speaking.is_active:
            return
        stage = self._stage
        if speech.version != stage.history.version:
            messages = stage.messages()
            speech.shown = messages.pop().parts if stage.history.ends_in_pictures else ()
            stage.seat.session.messages = messages
            speech.version = stage.history.version
        try:
            samples = self._tape.between(speech.fed, stop)
            stage.assistant.feed(stage.seat, samples, speech.shown)
        except OmnijetError as error:
            speech.can_be_fed = False
            self._let_go()
            stage.outbox.fault(Fault.of(error, "audio"))
        else:
            speech.fed = stop

    def _let_go(self) -> None:
        with suppress(OmnijetError):  # too short for anything
            self._stage.seat.session.take_sound()

    def _held_back(self) -> int:
        """Returns how many of the last samples may belong to the pause that ends the speech."""
        if self._detection is None:
            return 0
        return self._detection.pauses.silence_ms * SAMPLES_PER_MS

    def _longest(self) -> int:
        return math.floor(self._stage.assistant.limits.media_s * HEARD_HZ)

    def _require_room(self, count: int) -> None:
        assert self._speech is not None
        form = self._stage.settings.input_format
        coming = count // form.width * HEARD_HZ // form.rate_hz
        seconds = self._stage.assistant.limits.media_s
        if self._tape.end - self._speech.begin + coming > self._longest():
            raise Fault(
                f"the buffer would have more than {seconds:g} s: commit it, or clear it",
                "input_audio_buffer_full", "audio",
            )  # fmt: skip
