"""Compares every score of `omnijet eval` between both bundles, item by item."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.nano.evaluation.answers import Progress, right_answers
from omnijet.nano.evaluation.heldout import HeldOutItem
from omnijet.nano.evaluation.paired import ScoreChange, paired_match, paired_word_errors
from omnijet.nano.evaluation.scores import exact_match, word_error_rate
from omnijet.nano.evaluation.speech import WordErrors, spoken_word_errors
from omnijet.quantization.fidelity.measure import exact_backend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model


def score_changes(
    reference: Bundle, quantized: Bundle, items: Sequence[HeldOutItem], report: Progress
) -> tuple[ScoreChange, ...]:
    """Returns the change of every score; the float bundle runs first. Speech has the same seeds."""
    right, spoken = [], []
    for name, bundle in (("float", reference), ("quantized", quantized)):
        omni = Omni(Model(bundle, exact_backend()))

        def told(what: str, done: int, total: int, name: str = name) -> None:
            report(f"{name}: {what}", done, total)

        right.append(right_answers(omni, items, told)[0])
        spoken.append(spoken_word_errors(omni, items, False, told)[0])
    return (
        *(_matches(name, were, right[1][name]) for name, were in right[0].items()),
        *(_errors(name, were, spoken[1][name]) for name, were in spoken[0].items()),
    )


def _matches(name: str, were: Sequence[bool], are: Sequence[bool]) -> ScoreChange:
    return paired_match(exact_match(name, were), exact_match(name, are), were, are)


def _errors(name: str, were: WordErrors, are: WordErrors) -> ScoreChange:
    return paired_word_errors(
        word_error_rate(name, were.errors, were.words),
        word_error_rate(name, are.errors, are.words),
        were.errors,
        are.errors,
        were.words,
    )
