"""The scenarios and their messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling.inputs import Inputs
from omnijet.runtime.profiling.scenarios import MEDIA, SCENARIOS, chosen
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.options import Options


def test_every_medium_has_a_short_and_a_long_reply() -> None:
    assert len(SCENARIOS) == 2 * len(MEDIA) == 8
    for medium in MEDIA:
        short, long = SCENARIOS[medium], SCENARIOS[f"{medium}-long"]
        assert short.medium == long.medium == medium
        assert long.text_tokens == 4 * short.text_tokens
        assert long.codes - 1 == 4 * (short.codes - 1)


def test_an_unknown_scenario_names_its_neighbour() -> None:
    assert [s.name for s in chosen(["clip", "text", "clip"])] == ["clip", "text"]
    assert chosen(None) == list(SCENARIOS.values())
    with pytest.raises(OmnijetError, match="did you mean 'picture'"):
        chosen(["pictur"])


@pytest.mark.parametrize(
    ("name", "sounds", "grids"),
    [("text", 0, 0), ("question", 1, 0), ("picture", 0, 1), ("clip", 1, 1)],
)
def test_what_reaches_the_encoders(
    omni: Omni, tmp_path: Path, name: str, sounds: int, grids: int
) -> None:
    """A clip is one file that contains its sound; there is no second part for it."""
    messages = SCENARIOS[name].messages(tmp_path)
    parse_messages(messages)
    found = Inputs.of(omni, messages)
    assert (len(found.sounds), len(found.grids)) == (sounds, grids)
    for frames in found.sounds:  # 5 s, and what AAC pads
        assert 500 <= frames <= 515
    kinds = [part["type"] for part in messages[-1]["content"]]
    assert kinds.count("audio") == (1 if name == "question" else 0)
    if name == "clip":
        assert found.grids[0][0] == 5  # two frames a second, in pairs


def test_the_options_end_no_reply_early(omni: Omni) -> None:
    options = Options.of(**SCENARIOS["clip"].options(omni.model.dims))
    assert options.use_audio_in_video
    assert set(omni.model.dims.tokens.eos) <= set(options.thinker_sampling.suppress)
    assert {omni.model.dims.codec.pad, omni.model.dims.codec.eos} <= set(options.sampling.suppress)
