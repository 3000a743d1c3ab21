"""The inputs of a scenario in words."""

from __future__ import annotations

from omnijet.runtime.profiling.inputs import Inputs


def test_media_in_words() -> None:
    assert str(Inputs((), ())) == ""
    assert str(Inputs((500,), ())) == "5.0 s of sound"
    assert str(Inputs((), ((1, 34, 46), (5, 20, 28)))) == "34 x 46 patches, 5 x 20 x 28 patches"
