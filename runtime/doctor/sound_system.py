"""Sound: devices of ALSA, the sound server, levels, and PortAudio."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from omnijet.runtime.doctor.finding import Finding, fault, note, ok
from omnijet.runtime.doctor.here import Here

CARDS, PCM = "proc/asound/cards", "proc/asound/pcm"
OWN = ("tegra-ape", "tegra-hda")
"""A Jetson's own cards: their inputs lead to no microphone, and only HDMI has a speaker."""
HDMI = "tegra-hda"
LOUD, QUIET = 153, 20
"""Percent of a volume above which sound is distorted, and below which it is lost in noise."""
USUAL = "80%"
Direction = Literal["source", "sink"]
NAMES: dict[Direction, str] = {"source": "microphone", "sink": "speaker"}
_CARD = re.compile(r"^\s*(\d+) \[[^\]]*\]: (\S+) - (.*)$", re.MULTILINE)
_DEVICE = re.compile(r"^(\d+)-\d+:.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Card:
    """A sound card of ALSA."""

    driver: str
    name: str
    hears: bool
    plays: bool


def cards(here: Here) -> list[Card]:
    """Returns the sound cards that have a microphone or a speaker, as ALSA lists them."""
    lines: dict[str, list[str]] = {}
    for line in _DEVICE.finditer(here.text(PCM)):
        lines.setdefault(str(int(line.group(1))), []).append(line.group(0))
    return list(_cards(here.text(CARDS), lines))


def _cards(listed: str, lines: dict[str, list[str]]) -> Iterator[Card]:
    for number, driver, name in _CARD.findall(listed):
        devices = " ".join(lines.get(number, []))
        hears = "capture" in devices and driver not in OWN
        plays = "playback" in devices and (driver not in OWN or driver == HDMI)
        if hears or plays:
            yield Card(driver, name.strip(), hears, plays)


def sound_devices(here: Here) -> Finding:
    """Says which microphones and speakers there are."""
    found = cards(here)
    private = tuple(card.name for card in found)
    heard = [card.name for card in found if card.hears]
    played = [card.name for card in found if card.plays]
    typed = f"omnijet chat {here.bundle_word} --no-microphone"
    if not found:
        return note("no sound device: questions can be typed, and replies written to a file",
                    f"{typed} --output reply.wav", here.bundle_private)  # fmt: skip
    if not heard:
        return note(f"no microphone; speakers: {', '.join(played)}. A USB one that is plugged in "
                    "appears in this list", "arecord -l", private)  # fmt: skip
    if not played:
        return note(f"no speaker; microphones: {', '.join(heard)}. A USB one that is plugged in "
                    "appears in this list", "aplay -l", private)  # fmt: skip
    return ok(f"microphones: {', '.join(heard)}; speakers: {', '.join(played)}", private)


def sound_access(here: Here) -> Finding | None:
    """Says whether this user may use the sound cards."""
    nodes = sorted((here.root / "dev/snd").glob("pcm*"))
    if not nodes:
        return None
    if all(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        return ok("this user may use the sound cards")
    return grave(here)("this user may not use the sound cards; log in again after this line",
                       'sudo usermod -aG audio "$USER"')  # fmt: skip


def sound_server(here: Here) -> Finding | None:
    """Says which sound server there is."""
    if not cards(here):
        return None
    told = _pactl(here, "info")
    found = re.search(r"^Server Name: (.+)$", told, re.MULTILINE)
    if found is None:
        return ok("no sound server answers: ALSA alone, which one program uses at a time")
    source = re.search(r"^Default Source: (.+)$", told, re.MULTILINE)
    if source is not None and source.group(1).endswith(".monitor"):
        return grave(here)("the default microphone is a monitor: it hears what the speaker plays",
                           "pactl list short sources && omnijet chat --list-devices")  # fmt: skip
    return ok(found.group(1))


def microphone(here: Here) -> Finding | None:
    """Says whether the microphone is open and loud enough."""
    return _level(here, "source") if any(card.hears for card in cards(here)) else None


def speaker(here: Here) -> Finding | None:
    """Says whether the speaker is open and loud enough."""
    return _level(here, "sink") if any(card.plays for card in cards(here)) else None


def portaudio(here: Here) -> Finding | None:
    """Says whether `omnijet chat` can use microphones and speakers."""
    found = here.libraries("sounddevice")
    if found.missing:
        return note("microphones and speakers of `omnijet chat` need its extra",
                    here.install.pip("install", "omnijet[chat]"), here.install.private)  # fmt: skip
    if found.facts.get("portaudio") is False:
        return grave(here)("PortAudio is not here, which microphones and speakers need",
                           "sudo apt install libportaudio2")  # fmt: skip
    if not found.works:
        return grave(here)(f"PortAudio does not answer: {found.error}",
                           "sudo apt install --reinstall libportaudio2")  # fmt: skip
    counts = found.facts.get("microphones", 0), found.facts.get("speakers", 0)
    if not all(counts) and cards(here):
        return grave(here)(f"PortAudio finds {counts[0]} microphones and {counts[1]} speakers",
                           "omnijet chat --list-devices")  # fmt: skip
    return ok(f"sounddevice {found.version}: {counts[0]} microphones, {counts[1]} speakers")


def grave(here: Here) -> Callable[..., Finding]:
    """Returns what a fault of sound is: a note where nobody is going to talk.

    Who has a sound card and the extra [chat], or asks for the test of sound, is going to.
    """
    talks = cards(here) and not here.libraries("sounddevice").missing
    return fault if here.sound or talks else note


def _level(here: Here, direction: Direction) -> Finding | None:
    """Looks at mute and volume: the sound server's, or ALSA's if there is none."""
    which = f"@DEFAULT_{direction.upper()}@"
    muted = _pactl(here, f"get-{direction}-mute", which)
    if not muted:
        return _alsa_level(here, direction)
    open_it = f"pactl set-{direction}-mute {which} 0"
    if "yes" in muted.lower():
        return grave(here)("it is muted", open_it)
    return _volume(_pactl(here, f"get-{direction}-volume", which), direction,
                   f"{open_it} && pactl set-{direction}-volume {which} {USUAL}")  # fmt: skip


def _alsa_level(here: Here, direction: Direction) -> Finding | None:
    control, switch = ("Capture", "cap") if direction == "source" else ("Master", "unmute")
    told = here.tool(["env", "LC_ALL=C", "amixer", "sget", control])
    if not told:
        return None
    line = f"amixer sset {control} {switch} {USUAL}"
    if "[off]" in told:
        return grave(here)("it is muted", line)
    return _volume(told, direction, line)


def _volume(told: str, direction: Direction, line: str) -> Finding | None:
    found = re.search(r"(\d{1,4})%", told)
    if found is None:
        return None
    percent = int(found.group(1))
    said = f"open, volume {percent} %"
    if percent < QUIET:
        return note(f"{said}: a {NAMES[direction]} so quiet is lost in noise", line)
    if percent > LOUD:
        return note(f"{said}: a {NAMES[direction]} so loud is distorted", line)
    return ok(said)


def _pactl(here: Here, *words: str) -> str:
    """Returns what pactl says in English; empty if there is none, or no server."""
    return here.tool(["env", "LC_ALL=C", "pactl", *words])
