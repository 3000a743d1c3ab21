"""What `omnijet run` says of a reply that was cut, or that has no sound."""

from __future__ import annotations

from omnijet.runtime.commands.console import say
from omnijet.runtime.talk.reply import Reply

CODES_PER_SECOND = 50


def say_outcome(reply: Reply, wanted: object | None) -> int:
    """Says on stderr what is missing of a reply.

    Args:
        reply: the whole reply.
        wanted: the file that its sound was to be written to, if any.

    Returns:
        The exit code: 1 if sound was wanted and there is none, else 0.
    """
    _say_cuts(reply)
    if wanted is None or reply.audio.size:
        return 0
    what = "no samples were written" if wanted == "-" else f"{wanted} was not written"
    say(f"[{what}, nothing was said: {_why_silent(reply)}]")
    return 1


def _say_cuts(reply: Reply) -> None:
    if "length" in reply.cuts:
        count = len(reply.text_ids)
        tokens = "1 token" if count == 1 else f"{count} tokens"
        say(f"[the text was cut at {tokens}: --max-text-tokens allows more]")
    if "codes" in reply.cuts and reply.codes:
        seconds = len(reply.codes) / CODES_PER_SECOND
        say(f"[the speech was cut at {seconds:.2f} s: --max-codes allows more]")
    if "context" in reply.cuts:
        say("[the reply was cut: a shorter prompt or smaller media leave more room for it]")


def _why_silent(reply: Reply) -> str:
    """Returns why a reply that was to be spoken has no sound."""
    if "codes" in reply.cuts:
        return "--max-codes 1 leaves no codec token: give more"
    if "context" in reply.cuts:
        return "the context is full: a shorter prompt or smaller media leave room"
    if len(reply.text_ids) < 2:
        if "length" in reply.cuts:
            return "--max-text-tokens 1 leaves nothing to speak: give more"
        return "the reply has no words"
    return "the model ended the speech at once; another --seed or --voice may speak"
