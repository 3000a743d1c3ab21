"""Scores of understanding: the share of right answers for each skill."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from omnijet.nano.evaluation.heldout import HeldOutItem
from omnijet.nano.evaluation.scores import Score, exact_match
from omnijet.runtime.cancel import Check, never
from omnijet.runtime.media.cut_frames import CutFrames
from omnijet.runtime.media.sizing import AS_THE_MODEL_HAS_IT, Sizing
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.layout import Prompt
from omnijet.runtime.prompt.messages import Message
from omnijet.runtime.talk.model import Model

Progress = Callable[[str, int, int], None]
"""Receives (row of the table, items done, total items)."""

SHUFFLED = "watch, time ids shuffled"
LONGEST_TEXT = 64  # tokens; right answers are shorter, and this stops one that never ends


@dataclass(frozen=True, slots=True)
class Failure:
    """A wrong answer."""

    row: str
    number: int
    expected: str
    got: str


class ShuffledTime(Model):
    """The same model with shuffled time ids in the rows of a clip.

    Its score shows how much of a clip the model understands without the time axis of TMRoPE.
    """

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        use_audio_in_video: bool = True,
        check: Check = never,
        report: Callable[[int, int], None] | None = None,
        wishes: Sizing = AS_THE_MODEL_HAS_IT,
        strict_size: bool = False,
    ) -> Prompt:
        """Lays a conversation out and shuffles its clips."""
        prompt = super().prompt(
            messages, use_audio_in_video=use_audio_in_video, check=check, report=report,
            wishes=wishes, strict_size=strict_size,
        )  # fmt: skip
        tokens, ids, positions = self.dims.tokens, prompt.input_ids, prompt.positions
        # a spoken question beside the clip keeps its positions
        inside = np.cumsum(ids == tokens.vision_bos) > np.cumsum(ids == tokens.vision_eos)
        rows = np.flatnonzero(inside & np.isin(ids, (tokens.audio, tokens.video)))
        # every clip gets its own order: with a common order, the results of clips of equal
        # length would be correlated, and the interval would be too narrow
        clips = [clip.content for clip in prompt.videos if isinstance(clip.content, CutFrames)]
        seed = zlib.crc32(b"".join(content.patches().tobytes() for content in clips))
        shuffled = positions.copy()
        shuffled[0, rows] = positions[0, np.random.default_rng(seed).permutation(rows)]
        segments = tuple(
            replace(segment, positions=shuffled[:, segment.row : segment.row + segment.ids.size])
            for segment in prompt.segments
        )
        return replace(prompt, segments=segments)


def answer_scores(
    omni: Omni, items: Sequence[HeldOutItem], report: Progress
) -> tuple[list[Score], list[Failure]]:
    """Scores each row of `right_answers` by exact match."""
    rows, failures = right_answers(omni, items, report)
    return [exact_match(name, right) for name, right in rows.items()], failures


def right_answers(
    omni: Omni, items: Sequence[HeldOutItem], report: Progress
) -> tuple[dict[str, list[bool]], list[Failure]]:
    """Asks every item and tells which answers are right.

    Hearing also has rows for seen and unseen manners (voice, speed and pitch), and watching has
    one for shuffled time ids.

    Args:
        omni: The model.
        items: The items to ask.
        report: Receives the row of the table, the items done and the total items.

    Returns:
        Row -> whether each answer is right, and the wrong answers.
    """
    rows: dict[str, list[bool]] = {}
    failures: list[Failure] = []

    def ask(row: str, model: Omni, asked: Sequence[HeldOutItem]) -> list[bool]:
        right = []
        for done, item in enumerate(asked):
            report(row, done, len(asked))
            reply = model.generate(
                item.messages, speech=False, seed=0, max_text_tokens=LONGEST_TEXT
            )
            got = reply.text.strip()
            right.append(got == item.answer)
            if got != item.answer:
                failures.append(Failure(row, item.number, item.answer, got))
        report(row, len(asked), len(asked))
        return right

    for skill in ("hear", "see", "watch", "converse"):
        asked = [item for item in items if item.skill == skill]
        if not asked:
            continue
        right = rows[skill] = ask(skill, omni, asked)
        if skill == "hear":
            for name, unseen in (("seen", False), ("unseen", True)):
                those = [ok for ok, item in zip(right, asked, strict=True) if item.unseen == unseen]
                if those:
                    rows[f"hear, {name} manners"] = those
        if skill == "watch":
            model = omni.model
            shuffled = Omni(ShuffledTime(model.bundle, model.backend, model.context_limit))
            rows[SHUFFLED] = ask(SHUFFLED, shuffled, asked)
    return rows, [failure for failure in failures if failure.row != SHUFFLED]
