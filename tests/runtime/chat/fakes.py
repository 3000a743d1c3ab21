"""Stand-ins for the world around a chat: a server, a screen, a clock, a sound card."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.chat.transport import Inbox, Lost, News, Put, Said
from omnijet.runtime.chat.view import Phase
from omnijet.runtime.chat.wire import encoded

Event = dict[str, Any]


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Server:
    """A `Transport` that notes what is sent; a test says what comes back."""

    def __init__(self, on: Callable[[Server, Event], None] | None = None) -> None:
        self.sent: list[Event] = []
        self.opened = self.closed = 0
        self._on = on
        self._put: Put | None = None

    def open(self, put: Put) -> None:
        self.opened += 1
        self._put = put
        self.says("session.created", session={})

    def send(self, event: Mapping[str, Any]) -> None:
        self.sent.append(dict(event))
        if self._on is not None:
            self._on(self, dict(event))

    def close(self) -> None:
        self.closed += 1

    def says(self, kind: str, **fields: Any) -> None:
        """Sends an event to the chat."""
        assert self._put is not None
        self._put(Said({"type": kind, **fields}))

    def lost(self, why: str) -> None:
        """Ends the connection."""
        assert self._put is not None
        self._put(Lost(why))

    def replies(self, number: int, words: str, samples: Array | None, piece: int = 4800) -> None:
        """Sends a whole reply."""
        response, item = f"resp_{number}", f"item_{number}"
        where = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.says("response.created", response={"id": response})
        spoken = samples is not None
        kind = "response.output_audio_transcript.delta" if spoken else "response.output_text.delta"
        self.says(kind, delta=words, **where)
        if samples is not None:
            for start in range(0, len(samples), piece):
                delta = encoded(samples[start : start + piece])
                self.says("response.output_audio.delta", delta=delta, **where)
            self.says("response.output_audio.done", **where)
        self.done(number)

    def done(self, number: int, status: str = "completed", **details: Any) -> None:
        """Sends the end of a reply."""
        output = [{"id": f"item_{number}", "type": "message"}]
        response = {"id": f"resp_{number}", "status": status, "output": output, **details}
        self.says("response.done", response=response)

    def of(self, kind: str) -> list[Event]:
        """Returns what was sent of one type."""
        return [event for event in self.sent if event["type"] == kind]


class Paper:
    """A `View` that notes what is shown."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.lines: list[str] = []
        self.told: list[str] = []
        self.latencies: list[float] = []
        self.typed = ""

    def phase(self, phase: Phase) -> None:
        if self.phases[-1:] != [phase]:
            self.phases.append(phase)

    def question(self, text: str) -> None:
        self.lines.append(f"you: {text}")

    def answer(self, text: str) -> None:
        self.lines.append(text)

    def answered(self, note: str | None) -> None:
        if note is not None:
            self.lines.append(f"[{note}]")

    def latency(self, milliseconds: float) -> None:
        self.latencies.append(milliseconds)

    def tell(self, text: str) -> None:
        self.told.append(text)

    def typing(self, text: str) -> None:
        self.typed = text

    def close(self) -> None:
        pass


def inbox() -> Inbox:
    return queue.SimpleQueue()


def drained(box: Inbox) -> list[News]:
    """Takes all that is in an inbox."""
    found = []
    while not box.empty():
        found.append(box.get())
    return found


def ramp(samples: int) -> Array:
    """A sound of which every sample is another, exact in 16 bits."""
    return (np.arange(samples, dtype=np.float32) % 32_000 - 16_000) / np.float32(32_768)


class SoundCard:
    """A module in place of `sounddevice`: a test calls the callbacks.

    Args:
        rates: that its devices take.
        latency: of its speaker, in seconds.
    """

    class PortAudioError(Exception):
        pass

    def __init__(
        self, rates: tuple[int, ...] = (24_000,), latency: float = 0.0, devices: int = 1
    ) -> None:
        self.rates, self.latency = rates, latency
        self.opened: list[SimpleNamespace] = []
        self.default = SimpleNamespace(device=[0, 0])
        self._devices = [
            {
                "name": f"card \x1b[2J {number}",
                "max_input_channels": 1,
                "max_output_channels": 2,
                "default_samplerate": float(rates[0]),
            }
            for number in range(devices)
        ]
        self.InputStream = self._stream("input")
        self.OutputStream = self._stream("output")
        self.ready = threading.Event()  # both streams run

    def query_devices(self, device: int | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return self._devices
        if device is not None and device >= len(self._devices):
            raise ValueError(f"No {kind} device matching {device}")
        if not self._devices:
            raise self.PortAudioError("Error querying device -1")
        return self._devices[device or 0]

    def check_input_settings(self, **wanted: Any) -> None:
        if wanted["samplerate"] not in self.rates:
            raise self.PortAudioError("Invalid sample rate")

    check_output_settings = check_input_settings

    def _stream(self, kind: str) -> Callable[..., Any]:
        def made(**options: Any) -> SimpleNamespace:
            stream = SimpleNamespace(kind=kind, options=options, latency=self.latency, state="made")

            def start() -> None:
                stream.state = "running"
                self.opened.append(stream)
                if {one.kind for one in self.opened} == {"input", "output"}:
                    self.ready.set()

            def close() -> None:
                stream.state = "closed"
                options["finished_callback"]()

            stream.start, stream.close = start, close
            return stream

        return made

    def stream(self, kind: str) -> SimpleNamespace:
        (found,) = [one for one in self.opened if one.kind == kind]
        return found

    def speak(self, samples: Array) -> None:
        """Has the microphone hear f32[n] at its rate."""
        self.stream("input").options["callback"](samples[:, None], len(samples), None, None)

    def play(self, count: int) -> Array:
        """Has the speaker play so many samples; returns them."""
        into = np.full((count, 1), 9, np.float32)
        self.stream("output").options["callback"](into, count, None, None)
        return into[:, 0]
