"""A microphone and a speaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from omnijet.runtime.chat.playback import RATE_HZ, Playback
from omnijet.runtime.chat.portaudio import device_fault, no_devices, sound_library
from omnijet.runtime.chat.rates import FromChat, ToChat
from omnijet.runtime.chat.sound import WAIT_S
from omnijet.runtime.chat.transport import Heard, Lost, Put

BLOCK_S = 0.02


class Microphone:
    """A `Sound` that hears.

    Args:
        device: its number; None is the default one.
        put: takes what is heard, on a thread of PortAudio.
    """

    def __init__(
        self, device: int | None, put: Put, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device, self._put, self._clock = device, put, clock
        self._stream: Any = None
        self._is_closing = False

    def start(self) -> None:
        """See `Sound.start`."""
        library = sound_library()
        rate = _rate(library, self._device, "input")
        resampler = ToChat(rate)

        def heard(samples: Any, frames: int, when: Any, status: Any) -> None:
            made = resampler.take(np.array(samples[:, 0], np.float32))
            if made.size:
                self._put(Heard(made, self._clock()))

        def ended() -> None:
            if not self._is_closing:
                self._put(Lost("the microphone is gone"))

        self._stream = _opened(
            library, library.InputStream, "the microphone cannot be opened", self._device,
            rate, heard, ended,
        )  # fmt: skip

    def wait_s(self) -> float:
        """See `Sound.wait_s`."""
        return WAIT_S

    def step(self) -> None:
        """See `Sound.step`: PortAudio's thread does all."""

    def close(self) -> None:
        """See `Sound.close`."""
        self._is_closing = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class Speaker:
    """A `Sound` that plays.

    Args:
        device: its number; None is the default one.
        playback: what is played.
        put: told when the device is gone.
    """

    def __init__(self, device: int | None, playback: Playback, put: Put) -> None:
        self._device, self._playback, self._put = device, playback, put
        self._stream: Any = None
        self._is_closing = False

    def start(self) -> None:
        """See `Sound.start`."""
        library = sound_library()
        rate = _rate(library, self._device, "output")
        pulled = FromChat(self._playback, rate)

        def wanted(into: Any, frames: int, when: Any, status: Any) -> None:
            into[:, 0] = pulled.pull(frames)

        def ended() -> None:
            if not self._is_closing:
                self._put(Lost("the speaker is gone"))

        self._stream = _opened(
            library, library.OutputStream, "the speaker cannot be opened", self._device,
            rate, wanted, ended,
        )  # fmt: skip
        self._playback.delay = round(float(self._stream.latency) * RATE_HZ)

    def wait_s(self) -> float:
        """See `Sound.wait_s`."""
        return WAIT_S

    def step(self) -> None:
        """See `Sound.step`: PortAudio's thread does all."""

    def close(self) -> None:
        """See `Sound.close`."""
        self._is_closing = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None


Callback = Callable[[Any, int, Any, Any], None]


def _rate(library: Any, device: int | None, kind: str) -> float:
    """Returns 24 kHz if the device takes it, or else its own rate.

    Raises:
        OmnijetError: there is no such device.
    """
    name = "microphone" if kind == "input" else "speaker"
    check = library.check_input_settings if kind == "input" else library.check_output_settings
    try:
        found = library.query_devices(device, kind)
    except (library.PortAudioError, ValueError) as error:
        if device is None:
            raise no_devices(f"there is no {name}") from error
        raise device_fault(f"there is no such {name}", device, error) from error
    try:
        check(device=device, channels=1, dtype="float32", samplerate=RATE_HZ)
    except (library.PortAudioError, ValueError):
        return float(found["default_samplerate"])
    return float(RATE_HZ)


def _opened(
    library: Any,
    stream: Callable[..., Any],
    what: str,
    device: int | None,
    rate: float,
    callback: Callback,
    ended: Callable[[], None],
) -> Any:
    """Returns a stream of one channel that runs. Raises `OmnijetError`."""
    try:
        made = stream(
            samplerate=rate, blocksize=round(rate * BLOCK_S), device=device, channels=1,
            dtype="float32", latency="low", callback=callback, finished_callback=ended,
        )  # fmt: skip
        made.start()
    except (library.PortAudioError, ValueError) as error:
        raise device_fault(what, device, error) from error
    return made
