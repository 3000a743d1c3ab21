"""A reply while it is written: where it stops, and which of its tokens are spoken."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.talk.draft import Draft, kept_ids, written
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.text_feed import TextFeed
from tests.conftest import NANO_CHECKPOINT

FILE = NANO_CHECKPOINT / "tokenizer.json"
PLAIN = Tokenizer(FILE)
MARKER = "<tool_call>"
WORDS = st.lists(
    st.sampled_from(["one", " two", "<", "<tool", "_call>", MARKER, "st", "op", "é", "🙂", "\n"]),
    max_size=8,
).map("".join)


@pytest.fixture(params=["of letters", "a token", "a special token"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    """Nano's tokenizer spells the marker; published ones may have a token for it."""
    if request.param == "of letters":
        return PLAIN
    content = json.loads(FILE.read_text())
    token = {**content["added_tokens"][0], "id": 1100, "content": MARKER}
    token["special"] = request.param == "a special token"
    content["added_tokens"].append(token)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    return Tokenizer(path)


def drafted(tokenizer: Tokenizer, ids: list[int], options: Options) -> tuple[str, bool]:
    """The text of the tokens that are spoken, and whether the reply was stopped."""
    draft, read = Draft(tokenizer, options), []
    for token in ids:
        draft.push(token)
        read.append(token)
        if draft.is_stopped:
            break
    else:
        draft.finish()
    return tokenizer.decode(read[: draft.spoken]), draft.is_stopped


def deltas(tokenizer: Tokenizer, ids: list[int], options: Options) -> list[str]:
    kept = kept_ids(tokenizer, (*options.stop, *options.unspoken))
    feed = TextFeed(tokenizer, options.stop, kept)
    found = [*(feed.push(token) for token in ids), feed.rest()]
    assert [token for delta in found if delta for token in delta.ids] == ids
    return [delta.text for delta in found if delta is not None]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (f"four {MARKER}one", "four "),
        (f"{MARKER}one", ""),
        ("four <tool_cal> one", "four <tool_cal> one"),
        ("four <tool_cal", "four <tool_cal"),
        (f"four <<tool_{MARKER}", "four <<tool_"),
        ("four", "four"),
    ],
)
def test_text_from_the_marker_on_is_not_spoken(
    tokenizer: Tokenizer, text: str, spoken: str
) -> None:
    options = Options.of(unspoken=MARKER, speech=True)
    ids = tokenizer.encode(text)
    assert drafted(tokenizer, ids, options) == (spoken, False)
    split = written(tokenizer, ids, options, is_whole=True)
    assert split == (spoken, text[len(spoken) :])
    assert "".join(deltas(tokenizer, ids, options)) == text


def test_no_token_is_spoken_before_that_is_certain() -> None:
    options, text = Options.of(unspoken=MARKER), f"four <tool {MARKER} one"
    draft, ids = Draft(PLAIN, options), PLAIN.encode(text)
    texts = list(accumulate(PLAIN.decode([token]) for token in ids))
    for token, so_far in zip(ids, texts, strict=True):
        draft.push(token)
        spoken = PLAIN.decode(ids[: draft.spoken])
        assert f"four <tool {MARKER}"[: len(spoken)] == spoken
        held = [n for n in range(1, len(MARKER)) if so_far.endswith(MARKER[:n])]
        assert MARKER in so_far or len(spoken) == len(so_far) - max(held, default=0)
    assert (spoken, draft.is_silent) == ("four <tool ", True)


def test_a_token_that_reaches_into_a_marker_is_not_spoken() -> None:
    ids = PLAIN.encode("four seven one")
    assert [PLAIN.decode([token]) for token in ids] == ["four", " seven", " one"]
    assert drafted(PLAIN, ids, Options.of(stop="ven"))[0] == "four"
    assert written(PLAIN, ids, Options.of(stop="ven"), is_whole=False).spoken == "four se"


def test_the_first_byte_of_a_marker_is_not_spoken() -> None:
    ids = PLAIN.encode("one🙂two")
    assert len(ids) == 6 and PLAIN.decode(ids[:1]) == "one"
    for options in (Options.of(stop="🙂"), Options.of(unspoken="🙂")):
        draft = Draft(PLAIN, options)
        counts = [draft.push(token) or draft.spoken for token in ids]
        assert counts == [1] * 6


@given(WORDS, st.sampled_from(["stop", "one", "<", "é", "🙂\n", "two<"]))
def test_text_ends_before_the_stop_string_and_shows_nothing_of_it(text: str, stop: str) -> None:
    options = Options.of(stop=[stop, "another"], unspoken=[MARKER])
    ids = PLAIN.encode(text)
    text = PLAIN.decode(ids)  # the tokenizer composes letters and accents
    cut = text.split(stop)[0]
    pieces = deltas(PLAIN, ids, options)
    assert "".join(pieces) == cut == "".join(written(PLAIN, ids, options, is_whole=True))
    for piece in accumulate(pieces):
        assert cut.startswith(piece)
    for count in range(len(ids)):
        so_far = "".join(written(PLAIN, ids[:count], options, is_whole=False))
        assert cut.startswith(so_far.rstrip("\ufffd"))
    spoken, is_stopped = drafted(PLAIN, ids, options)
    assert is_stopped == (stop in text)
    assert cut.split(MARKER)[0].startswith(spoken.rstrip("\ufffd"))
