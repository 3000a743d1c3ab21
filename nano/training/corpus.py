"""The training text of the world's tokenizer."""

from __future__ import annotations

from omnijet.nano.world import words
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT

PLAIN_SYSTEM_PROMPT = "You are a helpful assistant."
SYSTEM_PROMPTS = (SPEECH_SYSTEM_PROMPT, PLAIN_SYSTEM_PROMPT)
QUESTIONS = (
    words.HEAR, words.SEE, words.WATCH, words.ASK_COUNT, words.ASK_COLOUR, words.ASK_SHAPE,
    words.ASK_FIRST, words.ASK_LAST, *map(words.ask_colour, words.COLOURS),
)  # fmt: skip


def corpus() -> list[str]:
    """Returns lines in which every word of the world is frequent, at the start and inside.

    Each word becomes a single token in both positions.
    """
    lines = [*SYSTEM_PROMPTS, *QUESTIONS, "system\nuser\nassistant\n"] * 4
    for word in words.WORDS:
        lines += [word, f"{word} {word} {word}"] * 4
    return lines
