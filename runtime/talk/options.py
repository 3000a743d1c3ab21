"""The options of a turn: what `generate` and `stream` take besides the messages."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import Sampling
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.model.thinker import THINKER_SAMPLING

MAX_TEXT_TOKENS = 1024
MAX_CODES = 4096  # with the last draw dropped, 81.9 s of speech


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one turn.

    Attributes:
        voice: speaker name; None: Chelsie, as in the reference.
        speech: False stops after the text; None: speech if the bundle has a voice.
        use_audio_in_video: hear the sound of clips, interleaved with their picture.
        greedy: the Talker takes the most likely code too (the Thinker does unless
            `thinker_sampling` says otherwise); repetition penalty and suppression stay.
        seed: of all draws and the DiT's noise; drawn if None.
        max_text_tokens, max_codes: limits; as in the reference the last drawn code is
            dropped even at the limit.
        talker_sampling: how codes are drawn unless greedy.
        thinker_sampling: how text tokens are chosen; the most likely, as in the reference.
    """

    voice: str | None = None
    speech: bool | None = None
    use_audio_in_video: bool = True
    greedy: bool = False
    seed: int | None = None
    max_text_tokens: int = MAX_TEXT_TOKENS
    max_codes: int = MAX_CODES
    talker_sampling: Sampling = TALKER_SAMPLING
    thinker_sampling: Sampling = THINKER_SAMPLING

    @staticmethod
    def of(**given: Any) -> Options:
        """Makes options by name and checks them; draws a seed if none is given.

        Raises:
            OmnijetError: an option is unknown or its value is unusable.
        """
        known = [field.name for field in fields(Options)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                raise OmnijetError(
                    f"there is no option {name!r}",
                    expected="one of " + ", ".join(known),
                    fix=f"did you mean {near[0]!r}?" if near else None,
                )
        options = Options(**given)
        seed = options.seed
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        return replace(
            options,
            seed=whole_number(seed, "seed", 0),
            max_text_tokens=whole_number(options.max_text_tokens, "max_text_tokens", 1),
            max_codes=whole_number(options.max_codes, "max_codes", 1),
        )

    @property
    def sampling(self) -> Sampling:
        """How the Talker draws codes."""
        return self.talker_sampling.made_greedy() if self.greedy else self.talker_sampling


def whole_number(value: Any, name: str, least: int) -> int:
    """Returns the value as an int.

    Raises:
        OmnijetError: it is no whole number, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OmnijetError(
            f"{name} is unusable", expected=f"a whole number from {least}", got=repr(value)
        )
    return int(value)
