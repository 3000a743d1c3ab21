"""One model and the people who talk to it."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.content_key import message_key
from omnijet.runtime.assistant.housekeeping import Housekeeping
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.places import Places
from omnijet.runtime.assistant.pool import Lent, Pool
from omnijet.runtime.assistant.record import Kind, Observer, TurnRecord, nobody
from omnijet.runtime.assistant.seat import Seat
from omnijet.runtime.assistant.turn import AssistantTurn
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import Message, Part, parse_messages
from omnijet.runtime.talk.session import Content
from omnijet.runtime.talk.stream import Stream


@dataclass(frozen=True, slots=True)
class Load:
    """What an assistant has to do at a moment.

    Attributes:
        running, waiting: turns that have a place, and those that wait for one.
        sessions: conversations that are open, those that are lent for one request included.
        pooled: conversations of earlier requests whose caches are kept.
        refused: conversations that there was no room for, so far.
    """

    running: int
    waiting: int
    sessions: int
    pooled: int
    refused: int


class Assistant:
    """Answers several people with one model. Close it, or use it in a `with` block.

    Threads: any thread may call any method. Calls block; none belongs on an event loop.

    Args:
        omni: the model. The assistant does not close it.
        limits: how much it takes on.
        observe: told of each turn that ended.
        keeps_content: whether records hold what was fed and written.
    """

    def __init__(
        self,
        omni: Omni,
        limits: Limits | None = None,
        observe: Observer = nobody,
        keeps_content: bool = False,
    ) -> None:
        self.omni = omni
        self.limits = limits or Limits()
        self._observers: tuple[Observer, ...] = (observe,)
        self.keeps_content = keeps_content
        self._changing = threading.Lock()
        self._seats: set[Seat] = set()
        self._lent: dict[Seat, Lent] = {}
        self._pool = Pool(self.limits.pooled)
        self._refused = 0
        self._places = Places(self.limits)
        self._running: dict[AssistantTurn, float] = {}  # and when they are late
        self._is_closing = self._is_closed = False  # takes on nothing more; has ended all
        self._housekeeping = Housekeeping(self._sweep)
        omni.model.lanes.regulate()

    def add_observer(self, observe: Observer) -> None:
        """Has somebody more be told of each turn that ends."""
        with self._changing:
            self._observers = (*self._observers, observe)

    def observe(self, record: TurnRecord) -> None:
        """Tells all observers of a turn that ended."""
        for observer in self._observers:
            observer(record)

    @property
    def load(self) -> Load:
        """What there is to do now."""
        with self._changing:
            sessions, pooled, refused = len(self._seats), len(self._pool), self._refused
        return Load(self._places.running, self._places.waiting, sessions, pooled, refused)

    @property
    def overdue_s(self) -> float:
        """Seconds since the end of the time of a turn that still runs; 0: there is none.

        A turn whose time is over ends after its present graph call. One that stays is stuck there.
        """
        with self._changing:
            due = min(self._running.values(), default=math.inf)
        return max(0.0, time.monotonic() - due)

    def sit(self, *, system: str | None = SPEECH_SYSTEM_PROMPT) -> Seat:
        """Opens a conversation that stays open until `Seat.leave`.

        Raises:
            Busy: too many conversations are open, or the assistant ends.
        """
        with self._changing:
            seat, evicted = self._new_seat(system)
        _end(evicted)
        self._housekeeping.wake()
        return seat

    def leave(self, seat: Seat) -> None:
        """Ends a conversation: its turns, its caches. Harmless if repeated."""
        with self._changing:
            self._seats.discard(seat)
            self._lent.pop(seat, None)
        _end([seat])

    @contextmanager
    def borrowed(self, history: Sequence[Message]) -> Iterator[Seat]:
        """Lends a seat whose session holds this history, for one request.

        It is one whose caches hold the longest beginning of the history, or a fresh one. Nobody
        else has it meanwhile.

        Args:
            history: all messages but the last user message.

        Raises:
            Busy: too many conversations are open, or the assistant ends.
        """
        seat = self._lend(history)
        try:
            yield seat
        finally:
            self._take_back(seat)

    @contextmanager
    def turn(
        self, kind: Kind, seat: Seat, abandon: Cancellation | None = None
    ) -> Iterator[AssistantTurn]:
        """Waits for a place and holds it during the block; then the turn is ended and observed.

        Args:
            abandon: a switch with which another thread ends the waiting. `Seat.leave` ends it,
                too.

        Raises:
            Busy: too many wait, it took too long, or the assistant ends.
            Cancelled: the waiting was abandoned.
        """
        turn = AssistantTurn(
            kind, seat, f"turn_{secrets.token_hex(8)}",
            keeps_content=self.keeps_content, asked=self._asked(seat),
        )  # fmt: skip
        began = time.monotonic()
        try:
            self._enter(turn, seat, abandon)
        except Busy as busy:
            turn.note(queued_ms=1e3 * (time.monotonic() - began))
            turn.note(refused=busy.reason, error=busy.what)
            self.observe(turn.record())
            raise
        except Cancelled:
            turn.note(queued_ms=1e3 * (time.monotonic() - began))
            self.observe(turn.record())
            raise
        entered = time.monotonic()
        turn.note(queued_ms=1e3 * (entered - began))
        try:
            yield turn
        finally:
            turn.cancel()
            self._leave(turn, seat, time.monotonic() - entered)
            self.observe(turn.record())

    def feed(self, seat: Seat, samples: Array, after: Sequence[Part] = ()) -> None:
        """Listens while somebody speaks: `Session.feed_audio`, in turn with the others.

        Args:
            samples: int16 or f32[n] in [-1, 1], mono, at the model's rate (16 kHz).
            after: parts of the same message that stand before the sound.
        """
        with self._using(seat), seat.ticket.used():
            seat.session.feed_audio(samples, after=after)

    def drain(self, timeout_s: float) -> bool:
        """Takes on nothing more, lets the turns that run come to their end, and closes.

        Args:
            timeout_s: after so many seconds the turns that still run are ended.

        Returns:
            Whether all came to their end.
        """
        self._refuse()
        is_empty = self._places.wait_empty(timeout_s)
        self.close()
        return is_empty

    def close(self) -> None:
        """Takes on nothing more and ends every turn. Harmless if repeated."""
        self._refuse()
        with self._changing:
            seats = [*self._seats, *self._pool.older(float("inf"))]
            turns = list(self._running)
            self._is_closed = True
            self._seats.clear()
            self._lent.clear()
        for turn in turns:
            turn.cancel()
        _end(seats)
        self._housekeeping.close()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse(self) -> None:
        with self._changing:
            self._is_closing = True
        self._places.close()

    # -- sessions -------------------------------------------------------------------

    def _new_seat(self, system: str | None) -> tuple[Seat, list[Seat]]:
        """Returns a new seat, and who went for it. The caller has the lock."""
        self._require_open()
        evicted = []
        if len(self._seats) + len(self._pool) >= self.limits.sessions:
            if not len(self._pool):
                self._refused += 1
                raise Busy("sessions", "too many conversations are open", 5)
            evicted.append(self._pool.evict())
        session = self.omni.session(system=system)
        seat = Seat(session, f"sess_{secrets.token_hex(8)}", self.leave)
        self._seats.add(seat)
        return seat, evicted

    def _require_open(self) -> None:
        if self._is_closing:
            raise Busy("closing", "the assistant ends", 5)

    def _lend(self, history: Sequence[Message]) -> Seat:
        messages, keys = list(history), [message_key(message) for message in history]
        evicted: list[Seat] = []
        with self._changing:
            self._require_open()
            if (found := self._pool.take(keys)) is not None:
                kept, count = found
                seat = kept.seat
                messages[:count] = kept.messages[:count]  # their media are encoded already
                self._seats.add(seat)
            else:
                seat, evicted = self._new_seat(None)
            self._lent[seat] = Lent(messages, keys)
        _end(evicted)
        seat.session.messages = messages
        self._housekeeping.wake()
        return seat

    def _take_back(self, seat: Seat) -> None:
        with seat.session:  # ends a reply that somebody still reads
            pass
        kept = None
        with self._changing:
            lent = self._lent.get(seat)
        if lent is not None and len(seat.session.memory):
            kept = lent.kept(seat)
        evicted = [seat]
        with self._changing:
            self._seats.discard(seat)
            if self._lent.pop(seat, None) is not None and kept is not None:
                seat.used = time.monotonic()
                evicted = self._pool.put(kept)
        _end(evicted)

    # -- turns ----------------------------------------------------------------------

    def _asked(self, seat: Seat) -> Callable[[Content, Callable[[], Stream]], Stream]:
        def asked(content: Content, make: Callable[[], Stream]) -> Stream:
            lent = self._lent.get(seat)
            if lent is None:
                return make()
            # before the stream reads the media, and lets go of their sources
            message = content
            if not isinstance(message, Message):
                (message,) = parse_messages([{"role": "user", "content": message}])
            key, stream = message_key(message), make()
            question = stream.messages[-1]
            if len(question.parts) == len(message.parts):  # else something was heard before
                lent.learn(question, key)
            return stream

        return asked

    def _enter(self, turn: AssistantTurn, seat: Seat, abandon: Cancellation | None) -> None:
        switches = (seat.gone,) if abandon is None else (seat.gone, abandon)
        self._places.take(seat.id, *switches)
        with self._changing:
            seat.busy += 1
            self._running[turn] = time.monotonic() + self.limits.turn_s
            is_closed = self._is_closed
        if is_closed:  # `close` has not seen it
            turn.cancel()
        self._housekeeping.wake()

    def _leave(self, turn: AssistantTurn, seat: Seat, seconds: float) -> None:
        with self._changing:
            del self._running[turn]
            seat.busy -= 1
            seat.used = time.monotonic()
        self._places.give(seat.id, seconds)

    @contextmanager
    def _using(self, seat: Seat) -> Iterator[None]:
        with self._changing:
            seat.busy += 1
        try:
            yield
        finally:
            with self._changing:
                seat.busy -= 1
                seat.used = time.monotonic()

    # -- housekeeping ---------------------------------------------------------------

    def _sweep(self, now: float) -> float | None:
        """Ends late turns, and drops the caches of who was idle for long."""
        idle_since = now - self.limits.idle_s
        with self._changing:
            late = [turn for turn, due in self._running.items() if due <= now]
            gone = self._pool.older(idle_since)
            idle = [
                seat for seat in self._seats
                if not seat.busy and seat.used <= idle_since and len(seat.session.memory)
            ]  # fmt: skip
        for turn in late:
            turn.expire()
        for seat in idle:
            seat.session.drop_caches()
        _end(gone)
        with self._changing:
            used = [seat.used for seat in self._seats]
            if (first := self._pool.next_due()) is not None:
                used.append(first)
            dues = [due for turn, due in self._running.items() if turn not in late]
        # who is in use, or has nothing to drop, is looked at again later
        dues += [(one if one > idle_since else now) + self.limits.idle_s for one in used]
        return min(dues, default=None)


def _end(seats: Sequence[Seat]) -> None:
    """Ends the turns of seats, and lets go of their caches."""
    for seat in seats:
        seat.gone.cancel()
        with suppress(Cancelled):
            seat.session.reset()
