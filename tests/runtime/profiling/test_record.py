"""A profile is read back from its file, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.record import VERSION, Profile
from tests.runtime.profiling.profiles import profile, result


def test_a_profile_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile(result()).to_json()))
    assert Profile.read(path) == Profile.read(tmp_path) == profile(result())


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"version": VERSION + 1}, {"scenarios": {"text": {}}}, {"machine": 1}],
)
def test_a_damaged_profile_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**profile(result()).to_json(), **change}))
    with pytest.raises(OmnijetError) as refused:
        Profile.read(path)
    assert next(iter(change)) in str(refused.value) and "profile.json" in str(refused.value)


def test_what_the_numbers_depend_on_is_always_said() -> None:
    facts = dict(profile(result()).facts())
    assert "numpy 2" in facts["versions"] and "0" * 64 in facts["bundle"]
    assert "5 runs after 1" in facts["measured"] and "preset exact" in facts["measured"]
