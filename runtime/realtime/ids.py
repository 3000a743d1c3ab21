"""Names of events, items and responses."""

from __future__ import annotations

import secrets

MOST_CHARACTERS = 64
"""An id that a client chooses has no more."""


def new_id(prefix: str) -> str:
    """Returns an id that nobody has or guesses: `item_1f0c...`."""
    return f"{prefix}_{secrets.token_hex(10)}"
