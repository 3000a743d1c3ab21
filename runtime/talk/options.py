"""The options of a turn: what `generate` and `stream` take besides the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shorten
from omnijet.runtime.media.sizing import Fault, Sizing
from omnijet.runtime.model.sampling import NUMBERS, Sampling, number_faults
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.model.thinker import THINKER_SAMPLING

MAX_TEXT_TOKENS = 1024
MOST_BEGIN = 4096  # characters
MOST_MARKERS, MOST_LETTERS = 16, 256
"""How many strings `stop` and `unspoken` may have each, and characters each string."""
MAX_CODES = 4096  # with the last draw dropped, 81.9 s of speech
THINKER, TALKER = "", "talker_"  # what stands before the names of a decoder's numbers
DRAWING = ("temperature", "top_k", "top_p")
"""The numbers of a sampling that mean nothing where the most likely token is taken."""
ELSEWHERE = {
    "system": "a session has its system prompt from the start: omni.session(system=...)",
    "preset": "only a stream has a preset: omni.stream(..., preset=...)",
}


_MARKERS = f"a string or up to {MOST_MARKERS}, of 1 to {MOST_LETTERS} characters each"


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one turn.

    Threads: any thread may use it; it never changes.

    Attributes:
        voice: speaker name; None: Chelsie, as in the reference.
        speech: False stops after the text; None: speech if the bundle has a voice.
        use_audio_in_video: hear the sound of clips, interleaved with their picture.
        greedy: Thinker and Talker take the most likely token (the Thinker does anyway, unless a
            number below or `thinker_sampling` says otherwise); repetition penalty and suppression
            stay.
        seed: of all draws and the DiT's noise; drawn if None.
        max_text_tokens, max_codes: limits; as in the reference the last drawn code is
            dropped even at the limit.
        temperature, top_p, top_k, repetition_penalty: of the Thinker, in place of the number in
            `thinker_sampling`. Any of the first three makes it draw. A temperature of 0 takes the
            most likely token. Without `top_k` there is no limit (transformers has one of 50).
            The penalty counts the tokens of the prompt, too, as in the reference.
        talker_temperature, talker_top_p, talker_top_k, talker_repetition_penalty: of the Talker,
            in place of the number in `talker_sampling`.
        talker_sampling: how codes are drawn.
        thinker_sampling: how text tokens are chosen; the most likely, as in the reference.
        max_pixels: largest area of a picture or frame; those of a message's part go before.
        max_frames, fps: how many frames of a clip are taken at most, and a second.
        strict_size: True refuses pictures and clips that are too large for the engine or the
            context; they are made to fit otherwise, with a warning.
        stop: strings that end the reply, one or up to 16 of at most 256 characters. The text ends
            before the one that is complete first (of several at one character, the longest), shows
            nothing of it, and only what is before it is spoken. `text_ids` are all that was
            generated; a session remembers the text.
        unspoken: as many strings; from the first of them on the text is written but not spoken
            ("<tool_call>"). A token is not spoken either if only its end belongs to the string. A
            session keeps this text once all of it is written, whatever was heard, and forgets it
            if the reply was cancelled before.
        begin: what the reply begins with, at most 4096 characters: the model goes on from there
            as if it had written this itself. It is text and tokens of the reply like the rest.
        lookup: whether tokens are guessed from what was read and written before, and several
            guesses are checked in one step: the reply is there sooner if it repeats much, and is
            the same but for the rounding of sums (docs/run.md). None: as measurements of this
            machine and of the text so far advise; never if a seed is given, because such
            measurements are not the same twice.
    """

    voice: str | None = None
    speech: bool | None = None
    use_audio_in_video: bool = True
    greedy: bool = False
    seed: int | None = None
    max_text_tokens: int = MAX_TEXT_TOKENS
    max_codes: int = MAX_CODES
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    talker_temperature: float | None = None
    talker_top_p: float | None = None
    talker_top_k: int | None = None
    talker_repetition_penalty: float | None = None
    talker_sampling: Sampling = TALKER_SAMPLING
    thinker_sampling: Sampling = THINKER_SAMPLING
    max_pixels: int | None = None
    max_frames: int | None = None
    fps: float | None = None
    strict_size: bool = False
    stop: tuple[str, ...] = ()
    unspoken: tuple[str, ...] = ()
    begin: str = ""
    lookup: bool | None = None

    @staticmethod
    def of(**given: Any) -> Options:
        """Makes options by name and checks them; draws a seed if none is given.

        Raises:
            OmnijetError: an option is unknown or its value is unusable.
        """
        _require_known(given)
        options = Options(**given)
        if faults := options._faults():
            raise OmnijetError("the options are unusable", got="\n            ".join(faults))
        seed, lookup = options.seed, options.lookup
        if lookup is None and seed is not None:
            lookup = False  # a seed asks for the same reply again
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        return replace(
            options,
            seed=whole_number(seed, "seed", 0),
            lookup=None if lookup is None else bool(lookup),
            max_text_tokens=whole_number(options.max_text_tokens, "max_text_tokens", 1),
            max_codes=whole_number(options.max_codes, "max_codes", 1),
            stop=_strings(options.stop),
            unspoken=_strings(options.unspoken),
        )

    @property
    def sampling(self) -> Sampling:
        """How the Talker draws codes."""
        sampling = _with_numbers(self.talker_sampling, self._numbers(TALKER))
        return sampling.made_greedy() if self.greedy else sampling

    @property
    def text_sampling(self) -> Sampling:
        """How the Thinker chooses text tokens."""
        return _with_numbers(self.thinker_sampling, self._numbers(THINKER))

    @property
    def has_markers(self) -> bool:
        """Whether strings in the text decide where it ends, or what of it is spoken."""
        return bool(self.stop or (self.unspoken and self.speech))

    @property
    def sizing(self) -> Sizing:
        """What is wished of the size of pictures and clips."""
        return Sizing.of(self._sizes(), [])

    def _sizes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("max_pixels", "max_frames", "fps")}

    def _numbers(self, prefix: str) -> dict[str, Any]:
        """Returns the numbers given for one decoder, by their names in `Sampling`."""
        values = {name: getattr(self, prefix + name) for name in NUMBERS}
        return {name: value for name, value in values.items() if value is not None}

    def _faults(self) -> list[str]:
        faults = [
            f"{name} {value!r}: expected {expected}"
            for name, expected, kinds in (
                ("voice", "a name", (str, type(None))),
                ("speech", "True, False or None", (bool, np.bool_, type(None))),
                ("use_audio_in_video", "True or False", (bool, np.bool_)),
                ("greedy", "True or False", (bool, np.bool_)),
                ("strict_size", "True or False", (bool, np.bool_)),
                ("lookup", "True, False or None", (bool, np.bool_, type(None))),
                ("talker_sampling", "an omnijet.Sampling", Sampling),
                ("thinker_sampling", "an omnijet.Sampling", Sampling),
            )
            if not isinstance(value := getattr(self, name), kinds)
        ]
        faults += [
            f"{name} {shorten(repr(value))}: expected {_MARKERS}"
            for name in ("stop", "unspoken")
            if not _are_markers(value := getattr(self, name))
        ]
        if not isinstance(self.begin, str) or len(self.begin) > MOST_BEGIN:
            shown = shorten(repr(self.begin))
            faults.append(f"begin {shown}: expected at most {MOST_BEGIN} characters")
        sizes: list[Fault] = []
        Sizing.of(self._sizes(), sizes)
        faults += [f"{name} {got!r}: expected {wanted}" for name, wanted, got in sizes]
        given = {}
        for prefix in (THINKER, TALKER):
            numbers = self._numbers(prefix)
            given.update({prefix + name: value for name, value in numbers.items()})
            if _is_zero(numbers.get("temperature")):
                del numbers["temperature"]
            faults += number_faults(numbers, prefix)
        if isinstance(self.greedy, bool | np.bool_) and self.greedy and (against := drawing(given)):
            faults.append(f"greedy contradicts {', '.join(against)}: leave one of them out")
        return faults


def drawing(numbers: Mapping[str, Any]) -> list[str]:
    """Returns which numbers of both decoders, by their names in `Options`, ask for draws."""
    return [
        name
        for name, value in numbers.items()
        if value is not None
        and name.removeprefix(TALKER) in DRAWING
        and not (name.endswith("temperature") and _is_zero(value))
    ]


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _are_markers(value: Any) -> bool:
    if not isinstance(value, str | list | tuple) or len(strings := _strings(value)) > MOST_MARKERS:
        return False
    return all(isinstance(one, str) and 0 < len(one) <= MOST_LETTERS for one in strings)


def _is_zero(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return is_number and bool(value == 0)


def _with_numbers(sampling: Sampling, numbers: dict[str, Any]) -> Sampling:
    """Returns a sampling with some of its numbers replaced; a temperature of 0 is greedy."""
    if _is_zero(numbers.get("temperature")):
        rest = {name: value for name, value in numbers.items() if name != "temperature"}
        return replace(sampling, greedy=True, **rest)
    draws = not numbers.keys().isdisjoint(DRAWING)
    return replace(sampling, greedy=sampling.greedy and not draws, **numbers)


def _require_known(given: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(Options)]
    for name in given:
        if name in known:
            continue
        fix = ELSEWHERE.get(name)
        bare = name.removeprefix("thinker_")  # as the reference has it
        near = [bare] if bare in known else get_close_matches(name, known, n=1)
        if fix is None and near:
            fix = f"did you mean {near[0]!r}?"
        raise OmnijetError(
            f"there is no option {name!r}", expected="one of " + ", ".join(known), fix=fix
        )


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
