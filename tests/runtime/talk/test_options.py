"""Options by name: numbers of a sampling, what contradicts, what is unusable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model.sampling import Sampling
from omnijet.runtime.model.talker import TALKER_SAMPLING
from omnijet.runtime.model.thinker import THINKER_SAMPLING
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.options import Options

HELLO = [{"role": "user", "content": "Hello"}]


def test_without_numbers_the_reference_decides() -> None:
    options = Options.of()
    assert (options.text_sampling, options.sampling) == (THINKER_SAMPLING, TALKER_SAMPLING)


@pytest.mark.parametrize(
    ("given", "text", "speech"),
    [
        ({"temperature": 0.7}, {"greedy": False, "temperature": 0.7}, {}),
        ({"top_p": 0.9, "top_k": 5}, {"greedy": False, "top_p": 0.9, "top_k": 5}, {}),
        ({"repetition_penalty": 1.2}, {"repetition_penalty": 1.2}, {}),
        ({"temperature": 0, "top_k": 5}, {"greedy": True, "top_k": 5}, {}),
        ({"talker_top_k": 20, "talker_top_p": 1}, {}, {"top_k": 20, "top_p": 1.0}),
        ({"talker_temperature": 0.0}, {}, {"greedy": True}),
        ({"greedy": True, "temperature": 0}, {}, {"greedy": True}),
        (
            {"greedy": True, "talker_repetition_penalty": 1.3, "repetition_penalty": 1.1},
            {"repetition_penalty": 1.1},
            {"greedy": True, "repetition_penalty": 1.3},
        ),
        ({"temperature": np.float32(0.5), "top_k": np.int64(3)},
         {"greedy": False, "temperature": 0.5, "top_k": 3}, {}),
    ],
)  # fmt: skip
def test_numbers_replace_those_of_the_samplings(
    given: dict[str, Any], text: dict[str, Any], speech: dict[str, Any]
) -> None:
    options = Options.of(**given)
    assert options.text_sampling == replace(THINKER_SAMPLING, **text)
    assert options.sampling == replace(TALKER_SAMPLING, **speech)


def test_a_number_beside_a_sampling_replaces_its_own() -> None:
    own = Sampling(greedy=False, temperature=2.0, top_k=7, suppress=(3,))
    options = Options.of(thinker_sampling=own, temperature=0.5, talker_sampling=own)
    assert options.text_sampling == replace(own, temperature=0.5)
    assert options.sampling == own
    # what only draws can follow asks for draws
    assert not Options.of(talker_sampling=Sampling(), talker_top_k=4).sampling.greedy


UNUSABLE = [
    *(
        {name: value}
        for name in ("temperature", "top_p", "repetition_penalty", "talker_temperature")
        for value in (float("nan"), float("inf"), -1, True, "0.7", np.array([0.5]), [1])
    ),
    {"temperature": 1e-9}, {"talker_temperature": 1e9}, {"repetition_penalty": 1e-9},
    *({"talker_top_k": value} for value in (-1, 1.5, "3", True, float("nan"))),
    {"top_p": 0}, {"top_p": 1.01}, {"repetition_penalty": 0}, {"talker_top_p": 10**400},
    {"temperature": 10**400}, {"greedy": "yes"}, {"use_audio_in_video": 1}, {"voice": 3},
    {"talker_sampling": {"top_k": 3}}, {"thinker_sampling": None},
    *(
        {name: value}
        for name in ("stop", "unspoken")
        for value in ("", ["a", ""], ["a", 3], b"a", {"a"}, None, 5, ["a"] * 17)
    ),
    {"begin": None}, {"begin": 3}, {"begin": ["a"]}, {"lookup": 1}, {"lookup": "auto"},
]  # fmt: skip


@pytest.mark.parametrize("given", UNUSABLE, ids=str)
def test_unusable_values_are_named_as_they_were_given(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(OmnijetError, match="options are unusable") as caught:
        Options.of(**given)
    assert str(caught.value.got).startswith(f"{name} {given[name]!r}: expected ")


@pytest.mark.parametrize("name", ["stop", "unspoken"])
def test_strings_that_are_looked_for_come_alone_or_several(name: str) -> None:
    given = {"END": ("END",), ("a", "b"): ("a", "b"), (): (), ("x" * 256,) * 16: ("x" * 256,) * 16}
    for value, strings in given.items():
        assert getattr(Options.of(**{name: value}), name) == strings
    assert getattr(Options.of(**{name: ["a", "a b"]}), name) == ("a", "a b")
    with pytest.raises(OmnijetError, match=r"257 characters|1 to 256 characters") as caught:
        Options.of(**{name: "y" * 257})
    assert len(str(caught.value)) < 400


def test_a_seed_asks_for_the_same_reply_again() -> None:
    """When guesses are worth it depends on times; they are made where they are asked for."""
    assert Options.of(seed=3).lookup is False and Options.of().lookup is None
    for asked in (True, False):
        assert Options.of(seed=3, lookup=asked).lookup is Options.of(lookup=asked).lookup is asked


def test_all_faults_at_once() -> None:
    with pytest.raises(OmnijetError) as caught:
        Options.of(top_p=2, talker_top_k=-1, greedy="no")
    assert len(str(caught.value.got).splitlines()) == 3


def test_greedy_contradicts_draws() -> None:
    with pytest.raises(OmnijetError, match="greedy contradicts top_k, talker_temperature"):
        Options.of(greedy=True, top_k=3, talker_temperature=0.5, repetition_penalty=1.1)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("temperatur", "did you mean 'temperature'"),
        ("thinker_temperature", "did you mean 'temperature'"),
        ("talker_topk", "did you mean 'talker_top_k'"),
        ("system", "omni.session"),
        ("preset", "omni.stream"),
    ],
)
def test_near_misses(given: str, hint: str) -> None:
    with pytest.raises(OmnijetError, match=f"no option '{given}'") as caught:
        Options.of(**{given: 1})
    assert hint in str(caught.value.fix)


def test_numbers_reach_replies_streams_and_sessions(omni: Omni) -> None:
    limits = {"seed": 3, "max_text_tokens": 6, "max_codes": 9}
    numbers = {"temperature": 5.0, "talker_temperature": 5.0, "talker_top_k": 0}
    plain, drawn = omni.generate(HELLO, **limits), omni.generate(HELLO, **limits, **numbers)
    assert drawn.text_ids != plain.text_ids and drawn.codes != plain.codes
    assert omni.generate(HELLO, **limits, temperature=0).text_ids == plain.text_ids
    with omni.stream(HELLO, **limits, **numbers) as stream:
        assert list(stream)
    said = omni.session().generate("Hello", **limits, **numbers)
    for reply in (stream.reply, said):
        assert (reply.text_ids, reply.codes) == (drawn.text_ids, drawn.codes)


@pytest.mark.parametrize("number", [1e-5, 1e5])
@pytest.mark.parametrize("name", ["temperature", "repetition_penalty"])
def test_the_ends_of_the_range_still_draw(omni: Omni, name: str, number: float) -> None:
    limits = {"seed": 3, "max_text_tokens": 6, "speech": False}
    with np.errstate(all="raise", under="ignore"):
        reply = omni.generate(HELLO, **limits, **{"temperature": 1.0, name: number})
    assert reply.text_ids


@pytest.mark.parametrize("suppress", [(10**6,), "12", (True,), (-1,), (1.5,), range(3)])
def test_tokens_to_suppress_are_checked(omni: Omni, suppress: Any) -> None:
    with pytest.raises(OmnijetError, match="suppress"):
        omni.generate(HELLO, thinker_sampling=Sampling(suppress=suppress), speech=False)
