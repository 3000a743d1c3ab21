"""Texts of strangers that must not spell out the model's control tokens.

The tokenizer parses a control token wherever a text spells it out, as the reference's does: a text
with `<|im_end|>` in it could end its own message and begin one of the system. Whoever passes
strangers' texts on refuses such a text first.
"""

from __future__ import annotations

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import Message, Text
from omnijet.runtime.prompt.tokenizer import Tokenizer


def require_plain(text: str, where: str, tokenizer: Tokenizer) -> None:
    """Raises `OmnijetError` if a text spells out a control token.

    These are the added tokens that the tokenizer calls special. `<tool_call>` and
    `<tool_response>` are none of them in published tokenizers, and mean nothing in a user's text;
    results of tools are checked for them by `response_text`.

    Args:
        text: what stands between two control tokens of the template: parts of a message that
            follow each other are one text, see `require_plain_message`.
        where: the text stands in the request.
    """
    # the text as it is, and as the tokenizer reads it, which may compose characters first
    special = tokenizer.special_tokens
    found = [token for token in special if token in text]
    if not found:
        ids = set(tokenizer.encode(text))
        found = [token for token, number in special.items() if number in ids]
    if found:
        raise OmnijetError(
            f"{where} spells out a control token of the model",
            where=where,
            got=found[0],
            fix="take it out of the text",
        )


def made_plain(text: str, tokenizer: Tokenizer) -> str:
    """Returns a text of the model itself without control tokens that it spells out.

    A model can write the letters of `<|AUDIO|>` one by one. In the next prompt they would be the
    token.
    """
    special = tokenizer.special_tokens
    while found := [token for token in special if token in text]:
        for token in found:
            text = text.replace(token, "")
    return text


def require_plain_message(message: Message, where: str, tokenizer: Tokenizer) -> None:
    """Raises `OmnijetError` if the texts of a message spell out a control token.

    The template writes texts that follow each other without anything between them, so two of them
    can spell what neither does.
    """
    texts = [""]
    for part in message.parts:
        if isinstance(part, Text):
            texts[-1] += part.text
        else:
            texts.append("")
    for text in texts:
        require_plain(text, where, tokenizer)
