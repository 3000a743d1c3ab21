"""The test of microphone and speaker: a tone is played and recorded."""

from __future__ import annotations

import subprocess
from dataclasses import fields

from omnijet.runtime.child.start import start
from omnijet.runtime.doctor.finding import Finding, fault, note, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.library import Library, parsed
from omnijet.runtime.doctor.tone import Heard
from omnijet.runtime.leftovers import leftover

CHILD = "omnijet.runtime.doctor.sound_trial"
LIMIT_S = 20.0
DEVICES = "omnijet chat --list-devices"
UNMUTE = "pactl set-source-mute @DEFAULT_SOURCE@ 0"
LOUDER = "pactl set-sink-mute @DEFAULT_SINK@ 0 && pactl set-sink-volume @DEFAULT_SINK@ 80%"
QUIETER = "pactl set-source-volume @DEFAULT_SOURCE@ 50%"


def sound_test(here: Here) -> Finding | None:
    """Plays a tone and says what the microphone heard; only if the user agreed."""
    if not here.sound:
        return None
    if not here.libraries("sounddevice").works:
        line = here.install.pip("install", "omnijet[chat]")
        return fault("without PortAudio no sound can be tested", line, here.install.private)
    return verdict(_played())


def _played(limit_s: float = LIMIT_S) -> Library:
    process = start(
        CHILD, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    with leftover(process.kill), process:
        try:
            said, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return Library(error=f"the sound system did not end within {limit_s:g} s")
        finally:
            process.kill()
    return parsed(said, process.returncode)


def verdict(told: Library) -> Finding:
    """Judges what the process of the test told."""
    if told.error is not None:
        return fault(f"a tone could not be played and recorded: {told.error}", DEVICES)
    found = Heard(**{one.name: float(told.facts[one.name]) for one in fields(Heard)})
    levels = f"noise {found.noise_db:.0f} dB, tone {found.tone_db:.0f} dB of full scale"
    if found.is_silent:
        return fault("the microphone hears nothing, not even noise: it is muted, or the wrong one",
                     UNMUTE)  # fmt: skip
    if not found.is_tone:
        return fault(f"the microphone does not hear the speaker ({levels}); with headphones that "
                     "is right", LOUDER)  # fmt: skip
    if found.is_clipped:
        return note(f"the microphone is too loud and cuts the peaks off ({levels})", QUIETER)
    return ok(f"the microphone hears the speaker: {levels}")
