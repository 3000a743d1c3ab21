"""How what the user said is written down: the same model, asked as a recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SYSTEM = "You are a speech recognition model."
PROMPT = "Transcribe the {language}audio into text."
"""The prompts that the model's authors recognise speech with, but that punctuation may stay."""
LANGUAGES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "pt": "Portuguese",
    "ru": "Russian", "th": "Thai", "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transcription:
    """What a session has its user's words written down with.

    Attributes:
        language: a code of `LANGUAGES`; None: the model finds out.
    """

    model: str
    language: str | None = None

    def wire(self) -> dict[str, Any]:
        """Returns it as a session has it."""
        return {"model": self.model, "language": self.language, "prompt": None}

    @property
    def prompt(self) -> str:
        """What the model is asked."""
        language = f"{LANGUAGES[self.language]} " if self.language is not None else ""
        return PROMPT.format(language=language)
