"""Calls found in a text while it is written, in whatever pieces it comes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.runtime.prompt.tool_calls import (
    CallArguments,
    CallBegun,
    CallBroken,
    CallEnded,
    Piece,
    Text,
    ToolCallParser,
    joined,
)
from omnijet.runtime.prompt.tool_text import Call, assistant_text

ARGUMENTS = '{"city": "Köln", "days": [1, {"a": "}]\\""}]}'
CALL = f'<tool_call>\n{{"name": "look", "arguments": {ARGUMENTS}}}\n</tool_call>'
PARTS = [
    "<tool_call>", "</tool_call>", "<tool_", "<", "\n", " ", '{"name": "look"', '{"name": 3',
    ', "arguments": ', '"arguments"', "{", "}", "{}", '{"a": "<tool_call>"}', '"{\\"a\\": 1}"',
    "[1, 2]", "null", "1", "text", '"', "\\", ":", ",", CALL, '{"arguments": {"b": 2}, "name": "',
    'look"}',
]  # fmt: skip


def parsed(*deltas: str, names: tuple[str, ...] = ("look",)) -> list[Piece]:
    parser = ToolCallParser(names)
    pieces = [piece for delta in deltas for piece in parser.push(delta)]
    return joined([*pieces, *parser.rest()])


def call(index: int = 0, arguments: str = ARGUMENTS, name: str = "look") -> list[Piece]:
    given = CallArguments(index, arguments)
    return [CallBegun(index, name, name == "look"), given, CallEnded(index)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Just words < and >.\n", [Text("Just words < and >.\n")]),
        (CALL, call()),
        (f"\n {CALL} \n", call()),
        (f"Let me look.\n{CALL}\nWell.", [Text("Let me look."), *call(), Text("Well.")]),
        (f"{CALL}\n{CALL}{CALL}", [*call(0), *call(1), *call(2)]),
        (CALL.replace("look", "leap"), call(name="leap")),
        # end marker, or last bracket, forgotten
        (CALL.removesuffix("</tool_call>"), call()),
        (CALL.removesuffix("\n</tool_call>") + CALL, [*call(0), *call(1)]),
        (CALL.replace("}\n</", "\n</"), call()),
        (CALL.removesuffix("}\n</tool_call>"), call()),
        # other orders and forms
        ('<tool_call>{"arguments":{"b": 2},"name":"look"}', call(arguments='{"b": 2}')),
        ('<tool_call> { "name" : "look" } ', call(arguments="{}")),
        ('<tool_call>{"name": "look", "arguments": null}', call(arguments="{}")),
        ('<tool_call>{"name": "look", "arguments": "{\\"a\\": 1}"}', call(arguments='{"a": 1}')),
        (
            '<tool_call>{"id": [1, "}"], "n": 1.5, "name": "look", "arguments": {}, "x": true}',
            call(arguments="{}"),
        ),
        ("<tool_call><tool_call>{}" + CALL, [Text("<tool_call><tool_call>{}"), *call()]),
        # no calls
        *(
            (text, [Text(text)])
            for text in (
                '<tool_call>{"name": "look", "arguments": "[1]"}',
                "<tool_call", "<tool_call>", "<tool_call>\n", "<tool_call>call me</tool_call>",
                '<tool_call>{"name": "look"', '<tool_call>{"name": "a b", "arguments": {}}',
                '<tool_call>{"name": 5}</tool_call> so', '<tool_call>{"arguments": {}}',
                '<tool_call>{"name": "look", "arguments": [1]}', "<tool_call>{name: look}",
                '<tool_call>{"name": "look", "arguments": "no"}', '<tool_call>{"name" "look"}',
                '<tool_call>{"name": "look", "name": "look"}', "<tool_call>{}", "</tool_call>",
                '<tool_call>{"name": "look", "arguments": no}', '<tool_call>[{"name": "look"}]',
            )
        ),
    ],
)  # fmt: skip
def test_texts_and_their_pieces(text: str, pieces: list[Piece]) -> None:
    assert parsed(text) == pieces
    assert parsed(*text) == pieces


@pytest.mark.parametrize(
    ("arguments", "after", "rest"),
    [
        ('{"city": "Kö', "", []),
        ('{"city": tell}', "}\n</tool_call>", []),
        ('{"city": [}}', "</tool_call>Well.", [Text("Well.")]),
        ('{"a": 1, "a": 2}', "} or so</tool_call>" + CALL, call(1)),
        ('{"a": NaN}', "} " + CALL, call(1)),
    ],
)
def test_a_call_that_breaks_after_it_was_told_is_broken(
    arguments: str, after: str, rest: list[Piece]
) -> None:
    text = f'So <tool_call>{{"name": "look", "arguments": {arguments}{after}'
    pieces = parsed(text)
    begun = [Text("So"), CallBegun(0, "look", True), CallArguments(0, arguments), CallBroken(0)]
    assert pieces == [*begun, *rest]
    assert parsed(*text) == pieces


def test_a_broken_end_is_no_part_of_the_arguments() -> None:
    pieces = parsed('<tool_call>{"name": "look", "arguments": {} oh}</tool_call>')
    assert pieces == [CallBegun(0, "look", True), CallArguments(0, "{}"), CallBroken(0)]


def test_the_end_marker_may_break_a_call() -> None:
    pieces = parsed('<tool_call>{"name": "look", "arguments": {}, </tool_call>Well.')
    assert pieces == [*call(arguments="{}")[:2], CallBroken(0), Text("Well.")]


def test_pieces_come_as_soon_as_they_are_certain() -> None:
    parser = ToolCallParser(["look"])
    came = [
        parser.push(delta)
        for delta in ("Hm", " <tool", "s> \n", "<tool_call>", '{"name": "look"', ', "arguments": ',
                      '{"a": ', '"b"', "}", "}", "</tool_call>", "x")
    ]  # fmt: skip
    assert came == [
        [Text("Hm")], [], [Text(" <tools>")], [], [], [],
        [CallBegun(0, "look", True), CallArguments(0, '{"a": ')], [CallArguments(0, '"b"')],
        [CallArguments(0, "}")], [CallEnded(0)], [], [Text("x")],
    ]  # fmt: skip
    assert parser.rest() == []


@given(st.data())
def test_the_pieces_do_not_depend_on_the_deltas(data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(PARTS), max_size=10)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = parsed(text)
    assert parsed(*deltas) == parsed(*text) == pieces
    # calls are whole and in order
    numbers = [piece.index for piece in pieces if isinstance(piece, CallBegun)]
    assert numbers == list(range(len(numbers)))
    for piece, following in pairwise(pieces):
        if isinstance(piece, CallArguments) and isinstance(following, CallEnded):
            assert isinstance(json.loads(piece.fragment), dict)
    # of a text without any marker nothing is lost
    if "<tool_call>" not in text:
        assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\"\\{}<>é"), inner),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4)


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.sampled_from([None, "Let me see.", "<"]))
def test_what_the_template_writes_is_read_again(given: list[dict], content: str | None) -> None:
    calls = [Call("look", json.dumps(one)) for one in given]
    pieces = parsed(*assistant_text(content, calls))
    assert [piece.text for piece in pieces if isinstance(piece, Text)] == [content] * bool(content)
    read = [json.loads(piece.fragment) for piece in pieces if isinstance(piece, CallArguments)]
    assert read == given
    assert sum(isinstance(piece, CallEnded) for piece in pieces) == len(given)
