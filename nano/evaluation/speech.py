"""Scores of speaking: an independent recogniser counts word errors after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnijet.nano.evaluation.answers import LONGEST_TEXT, Failure, Progress
from omnijet.nano.evaluation.heldout import HeldOutItem
from omnijet.nano.evaluation.recogniser import RATE_HZ, Recogniser
from omnijet.nano.evaluation.scores import Score, word_error_rate, word_errors
from omnijet.nano.world.speech_mel import SPEECH_RATE_HZ, speech_mel, to_speech_rate
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.media.audio import load_audio
from omnijet.runtime.omni import Omni

REPLY = "spoken reply"
STAGES = ("original audio", "its mel, vocoded", "its codes, DiT and vocoder", REPLY)
LONGEST_CODES = 600  # 12 s; right answers are shorter


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The word edits of each reply and the number of words in each right answer."""

    errors: list[int]
    words: list[int]


def speech_scores(
    omni: Omni, items: Sequence[HeldOutItem], greedy: bool, report: Progress
) -> tuple[list[Score], list[Failure]]:
    """Scores each row of `spoken_word_errors` by word error rate."""
    rows, failures = spoken_word_errors(omni, items, greedy, report)
    return [word_error_rate(name, row.errors, row.words) for name, row in rows.items()], failures


def spoken_word_errors(
    omni: Omni, items: Sequence[HeldOutItem], greedy: bool, report: Progress
) -> tuple[dict[str, WordErrors], list[Failure]]:
    """Counts word errors after every stage, for all replies and per voice.

    Args:
        omni: The model.
        items: The items; only those of the skill "speak" are used, and none without a voice.
        greedy: Whether the Talker decodes without sampling.
        report: Receives the row of the table, the items done and the total items.

    Returns:
        Row -> word errors, and the replies with wrong words.
    """
    asked = [item for item in items if item.skill == "speak"]
    if not asked or not omni.model.dims.has_voice:
        return {}, []
    recogniser = Recogniser()
    errors: dict[str, list[int]] = {stage: [] for stage in STAGES}
    failures = []
    for done, item in enumerate(asked):
        report("speak", done, len(asked))
        wanted = item.answer.split()
        for stage, (sound, rate) in _stages(omni, item, greedy).items():
            got = recogniser.words(sound, rate)
            errors[stage].append(word_errors(wanted, got))
            if stage == REPLY and got != wanted:
                failures.append(Failure("speak", item.number, item.answer, " ".join(got)))
    report("speak", len(asked), len(asked))
    rows = {}
    voices = sorted({str(item.voice) for item in asked})
    for stage in STAGES:
        for voice in (None, *(voices if len(voices) > 1 else ())):
            chosen = [n for n, item in enumerate(asked) if voice in (None, item.voice)]
            rows[f"speak, {stage}" + (f", {voice}" if voice else "")] = WordErrors(
                [errors[stage][number] for number in chosen],
                [len(asked[number].answer.split()) for number in chosen],
            )
    return rows, failures


def _stages(omni: Omni, item: HeldOutItem, greedy: bool) -> dict[str, tuple[Array, int]]:
    """Returns the answer spoken by the engine, and by one more stage of the model each time."""
    assert item.original is not None
    original = load_audio(item.original, RATE_HZ)
    mel = speech_mel(to_speech_rate(original)).T
    made = omni.mel_of(item.codes, voice=item.voice, seed=item.number)
    reply = omni.generate(
        item.messages, voice=item.voice, greedy=greedy, seed=item.number,
        max_text_tokens=LONGEST_TEXT, max_codes=LONGEST_CODES,
    )  # fmt: skip
    sounds = (
        (original, RATE_HZ),
        (omni.wave_of(mel), SPEECH_RATE_HZ),
        (omni.wave_of(made), SPEECH_RATE_HZ),
        (reply.audio, reply.sample_rate_hz),
    )
    return dict(zip(STAGES, sounds, strict=True))
