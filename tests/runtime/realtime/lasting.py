"""Replies that last: a talker that does not come to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.omni import Omni
from omnijet.runtime.realtime.response import Response


def make_lasting(
    omni: Omni, monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool] = lambda: True
) -> None:
    """Makes replies of conversations speak for 10 s, whatever they say.

    Args:
        when: looked at when a reply begins.
    """
    speech = omni.model.dims.speech
    assert speech is not None
    endless = replace(TALKER_SAMPLING, suppress=speech.codec.ends)
    own = Response._options

    def options(self: Response) -> dict[str, Any]:
        lasts = {"max_codes": 500, "talker_sampling": endless} if when() else {}
        return {**own(self), **lasts}

    monkeypatch.setattr(Response, "_options", options)
