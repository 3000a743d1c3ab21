"""The system prompt: the model's own for speech, the user's, or what the template writes."""

from __future__ import annotations

from collections.abc import Sequence

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import Message, Text, parse_messages

MODIFIED = (
    "the system prompt is not the model's own (omnijet.SPEECH_SYSTEM_PROMPT): "
    "the speech may not be as expected"
)
"""What the reference's processor warns of, too."""


def system_messages(prompt: str | None) -> tuple[Message, ...]:
    """Returns the messages that set a system prompt; None sets none.

    Raises:
        OmnijetError: the prompt is no text.
    """
    if prompt is None:
        return ()
    if not isinstance(prompt, str):
        raise OmnijetError(
            "the system prompt is unusable", where="system", expected="a string or None",
            got=type(prompt).__name__,
        )  # fmt: skip
    return parse_messages([{"role": "system", "content": prompt}])


def with_system(
    messages: tuple[Message, ...], prompt: str | None, *, speaks: bool
) -> tuple[Message, ...]:
    """Puts a system prompt before a conversation that has none.

    The model's own for speech is left out of a conversation that is answered without speech, as
    the reference's users do: there the template writes what it writes.
    """
    added = system_messages(prompt)
    if any(message.role == "system" for message in messages):
        return messages
    if prompt == SPEECH_SYSTEM_PROMPT and not speaks:
        return messages
    return (*added, *messages)


def is_for_speech(messages: Sequence[Message]) -> bool:
    """Whether a conversation begins with the system prompt that the model speaks well under."""
    parts = messages[0].parts if messages and messages[0].role == "system" else ()
    words = [part.text for part in parts if isinstance(part, Text)]
    return len(words) == len(parts) and "".join(words) == SPEECH_SYSTEM_PROMPT
