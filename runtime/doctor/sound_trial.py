"""Plays a tone and records it, in a process of its own, because a sound system may hang.

The last line that the process prints is one JSON object. What was recorded is not kept.
"""

from __future__ import annotations

import json
from typing import Any

from omnijet.runtime.doctor.tone import heard, tone

RATES_HZ = (48_000, 44_100, 16_000)


def main() -> None:
    """Prints `{"rate_hz": ..., ...}` with the facts of `Heard`, or `{"error": ...}`."""
    try:
        found = trial()
    except Exception as error:  # PortAudio's own, or whatever is below it
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print("\n" + json.dumps(found), flush=True)


def trial() -> dict[str, Any]:
    """Plays and records at the first rate that the default devices take."""
    import sounddevice

    last: Exception | None = None
    for rate in RATES_HZ:
        try:
            recorded = sounddevice.playrec(
                tone(rate)[:, None], samplerate=rate, channels=1, dtype="float32", blocking=True
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            last = error
            continue
        return {"rate_hz": rate, **heard(recorded[:, 0], rate).to_json()}
    assert last is not None
    raise last
