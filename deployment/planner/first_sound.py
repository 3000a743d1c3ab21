"""What happens from the end of a question to the first sound, and in all of a reply.

The order is that of `omnijet.runtime.talk`: Thinker and Talker take turns until the codes of the
first window are there, then the writer rests until that window sounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omnijet.deployment.planner.amounts import Amounts
from omnijet.deployment.planner.work import Machine
from omnijet.runtime.bundle.dims import audio_token_count
from omnijet.runtime.speech.presets import SpeechPreset
from omnijet.runtime.speech.vocoder import HELD, SHORT_CONTEXT

FRAMES_PER_S = 100  # mel frames of a question, and of speech
SYSTEM_TOKENS, MARK_TOKENS = 35, 15
"""Tokens of the model's own system prompt, and of the marks around it and a spoken question."""
TEXT_PER_S = 4
"""Tokens of text that a second of speech says: about three words of English."""
OPENED = 2  # rows that the Talker reads beyond the prompt: the voice and the first token


@dataclass(frozen=True, slots=True)
class Stage:
    """Work of one kind before the first sound.

    Attributes:
        calls: how often it is done.
    """

    name: str
    work: Amounts
    calls: int


def question_rows(machine: Machine, seconds: float) -> int:
    """Returns the rows of a prompt that is a spoken question."""
    return SYSTEM_TOKENS + MARK_TOKENS + audio_token_count(round(seconds * FRAMES_PER_S))


def until_first_sound(
    machine: Machine, preset: SpeechPreset, rows: int, seconds: float = 0.0
) -> list[Stage]:
    """Returns the stages from a question of so many rows to the first samples of the reply.

    Args:
        seconds: of sound in the question.
    """
    stages = []
    if seconds:
        heard = machine.audio([round(seconds * FRAMES_PER_S)])
        stages.append(Stage("audio_encoder", heard, 1))
    stages.append(Stage("thinker_prefill", machine.prefill("thinker_step", rows), 1))
    dit = machine.dims.dit
    frames = preset.windows.opening(dit.block)
    codes = frames // dit.repeats
    window = next(windows(preset, frames, dit.block))
    steps = codes - 1  # the prefill gives the first code
    return [
        *stages,
        Stage("thinker_decode", machine.step("thinker_step", rows + codes / 2) * codes, codes),
        Stage("talker_prefill", machine.prefill("talker_step", rows + OPENED), 1),
        Stage("talker_decode", machine.step("talker_step", rows + codes / 2) * steps, steps),
        Stage("dit", machine.dit(window.computed, preset.solver), len(preset.solver.evaluations)),
        Stage("vocoder", machine.vocoder(window.vocoded), 1),
    ]  # fmt: skip


def whole_reply(
    machine: Machine, preset: SpeechPreset, rows: int, text: int, codes: int
) -> Amounts:
    """Returns all work of a reply of so many text tokens and codes."""
    steps = machine.step("thinker_step", rows + text / 2) * text
    steps += machine.step("talker_step", rows + codes / 2) * codes
    read = machine.prefill("thinker_step", rows) + machine.prefill("talker_step", rows + OPENED)
    return read + steps + synthesis(machine, preset, codes)


def synthesis(machine: Machine, preset: SpeechPreset, codes: int) -> Amounts:
    """Returns the work of DiT and vocoder for so many codes."""
    total, dit = Amounts(), machine.dims.dit
    for window in windows(preset, codes * dit.repeats, dit.block):
        total += machine.dit(window.computed, preset.solver) + machine.vocoder(window.vocoded)
    return total


@dataclass(frozen=True, slots=True)
class Piece:
    """A window of the DiT and the piece of sound that follows, in mel frames."""

    computed: int
    vocoded: int


def windows(preset: SpeechPreset, frames: int, block: int) -> Iterator[Piece]:
    """Yields the windows of an utterance, as `Synthesis` and `VocoderStream` choose them."""
    number = done = voiced = 0
    while window := preset.windows.window(number, done, frames, block, True):
        number, done = number + 1, window.end
        last = window.end == frames
        ahead = window.stop - window.end if preset.guess else 0
        kept = max(voiced - preset.context, 0)
        seen = done - kept + min(ahead, SHORT_CONTEXT - HELD)
        voiced = done if last else done - (HELD if ahead else preset.context)
        yield Piece(window.stop - window.start, seen)
