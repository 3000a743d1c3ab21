"""An independent speech recogniser: pocketsphinx, restricted to the world's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from omnijet.nano.world.words import REPLY_WORDS
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.platform import this_platform

RATE_HZ = 16_000
FRAMES_PER_SECOND = 100  # of the recogniser
PAUSE_SECONDS = 0.5  # the decoder expects silence at both ends
# tuned on flite's own voices, whose words the recogniser should understand
WORD_PENALTY, PHONE_PENALTY = 0.01, 0.3


class Recogniser:
    """A recogniser of any sequence of words that a reply can contain.

    Raises:
        OmnijetError: pocketsphinx is not installed, or its dictionary lacks a word.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ModuleNotFoundError as error:
            raise OmnijetError(
                "speech scores need a recogniser",
                expected="pocketsphinx",
                got=f"no module named {error.name}",
                fix="it has no wheel for this machine: score other skills with --skill"
                if this_platform().arch == "aarch64"
                else 'pip install "omnijet[eval]", or score other skills with --skill',
            ) from error
        self._decoder: Any = Decoder(
            lm=None, loglevel="FATAL", bestpath=False, samprate=RATE_HZ,
            wip=WORD_PENALTY, pip=PHONE_PENALTY,
        )  # fmt: skip
        missing = [word for word in REPLY_WORDS if self._decoder.lookup_word(word) is None]
        if missing:
            raise OmnijetError("the recogniser's dictionary lacks words", got=", ".join(missing))
        grammar = f"#JSGF V1.0; grammar world; public <reply> = ({' | '.join(REPLY_WORDS)})+;"
        self._decoder.add_jsgf_string("world", grammar)
        self._decoder.activate_search("world")

    def words(self, samples: Array, rate_hz: int) -> list[str]:
        """Recognises the words in f32[samples] in [-1, 1]; returns no words if nothing fits."""
        return [word for word, _, _ in self.timed_words(samples, rate_hz)]

    def timed_words(self, samples: Array, rate_hz: int) -> list[tuple[str, float, float]]:
        """Recognises words and where they stand; returns (word, begin and end in seconds)."""
        if not samples.size:
            return []
        sound = samples if rate_hz == RATE_HZ else soxr.resample(samples, rate_hz, RATE_HZ)
        padded = np.pad(sound, round(PAUSE_SECONDS * RATE_HZ))
        pcm = (np.clip(padded, -1, 1) * 32767).astype(np.int16)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return []
        return [
            (
                part.word.split("(")[0],  # an alternative pronunciation has a number
                part.start_frame / FRAMES_PER_SECOND - PAUSE_SECONDS,
                (part.end_frame + 1) / FRAMES_PER_SECOND - PAUSE_SECONDS,
            )
            for part in self._decoder.seg()
            if part.word.split("(")[0] in REPLY_WORDS
        ]
