"""PortAudio through `sounddevice`: whether it is there, and which devices it has."""

from __future__ import annotations

from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line

FILES = "or use files in place of devices: --input a.wav --output b.wav"


def sound_library() -> Any:
    """Returns the module `sounddevice`.

    Raises:
        OmnijetError: it, or PortAudio below it, is not installed.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise OmnijetError(
            "a microphone and a speaker need more than the runtime",
            expected="the extra [chat]",
            got=f"no module named {error.name}",
            fix=f'pip install "omnijet[chat]", {FILES}',
        ) from error
    except OSError as error:
        raise OmnijetError(
            "PortAudio is not installed, which microphones and speakers need",
            got=str(error),
            fix=f"on Debian and Ubuntu: apt install libportaudio2; {FILES}",
        ) from error
    return sounddevice


def device_lines() -> list[str]:
    """Returns a line for each device: its number, name, and channels in and out.

    Raises:
        OmnijetError: PortAudio is not there, or has no devices.
    """
    library = sound_library()
    try:
        devices = list(library.query_devices())
    except library.PortAudioError as error:
        raise device_fault("the sound devices cannot be listed", None, error) from error
    if not devices:
        raise no_devices("there is no sound device")
    chosen = list(library.default.device)
    lines = []
    for number, device in enumerate(devices):
        inputs, outputs = device["max_input_channels"], device["max_output_channels"]
        uses = [name for name, count in (("microphone", inputs), ("speaker", outputs)) if count]
        marks = [
            f"default {name}"
            for name, default in zip(("microphone", "speaker"), chosen, strict=False)
            if default == number
        ]
        note = f"  ({', '.join(marks)})" if marks else ""
        rate = float(device["default_samplerate"])
        lines.append(
            f"{number:>3}  {one_line(str(device['name']))}: {' and '.join(uses) or 'neither'}, "
            f"{rate:g} Hz{note}"
        )
    return lines


def no_devices(what: str) -> OmnijetError:
    """Returns the error of a machine without a device."""
    return OmnijetError(
        what,
        expected="a device of ALSA, PulseAudio or PipeWire",
        fix=f"plug one in, and see: omnijet chat --list-devices; {FILES}",
    )


def device_fault(what: str, device: int | None, error: Exception) -> OmnijetError:
    """Returns the error of a device that refuses."""
    return OmnijetError(
        what,
        where="the default device" if device is None else f"device {device}",
        got=one_line(str(error)),
        fix=f"choose another: --list-devices, --microphone N, --speaker N; {FILES}",
    )
