"""What a response has read and made, in tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omnijet.runtime.prompt.messages import Message, Text
from omnijet.runtime.talk.reply import Reply


def usage(reply: Reply, messages: Sequence[Message], most: int | None) -> dict[str, Any]:
    """Returns the usage as OpenAI writes it.

    Args:
        messages: what was fed.
        most: tokens that were given out; of what was said these are codes, 50 a second.
    """
    heard = seen = 0
    for message in messages:
        for part in message.parts:
            medium = None if isinstance(part, Text) else part.medium
            if medium is not None:
                heard += medium.shape.sound_tokens
                seen += math.prod(medium.shape.grid) if medium.shape.grid is not None else 0
    written, said = len(reply.text_ids), len(reply.codes)
    if most is not None:  # a few more were made before the reply was cut
        said = min(said, max(most - written, 0))
    return {
        "input_tokens": reply.prompt_tokens,
        "output_tokens": written + said,
        "total_tokens": reply.prompt_tokens + written + said,
        "input_token_details": {
            "text_tokens": max(reply.prompt_tokens - heard - seen, 0),
            "audio_tokens": heard,
            "image_tokens": seen,
            "cached_tokens": reply.reused_tokens,
        },
        "output_token_details": {"text_tokens": written, "audio_tokens": said},
    }


def nothing_used() -> dict[str, Any]:
    """Returns the usage of a response that never began."""
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
