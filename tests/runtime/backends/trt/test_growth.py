"""Caches that an engine does not update in place grow with the conversation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import Graph, State
from omnijet.runtime.backends.trt.state import EngineState
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from tests.quantization.graphs import feeds
from tests.runtime.backends.trt.engines import GROWING, Machine, machine, with_engines

STEPS = (
    (0, 20), (20, 1), (21, 11),  # the first caches are full
    (32, 1), (33, 30), (63, 1), (40, 5), (45, 120), (165, 1),
)  # fmt: skip
"""(rows that are kept, new rows); caches double when they are full."""


@pytest.fixture
def growing(trained: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Omni, Machine]]:
    bundle = with_engines(trained[1], tmp_path / "bundle", in_place=False)
    with machine() as made, Omni.open(bundle, engines="orin-nx") as ours:
        yield ours, made


def run(graph: Graph, state: State, kept: int, rows: int, seed: int) -> tuple[State, Array]:
    """Takes a step, in larger caches where it must; returns the logits."""
    if kept + rows > state.capacity:
        capacity = state.capacity
        while capacity < kept + rows:
            capacity *= 2
        state.grow(capacity, kept)
    sizes = {"rows": rows, "capacity": state.capacity, "picked": 1}
    sizes = {symbol: sizes[symbol] for symbol in graph.contract.symbols}
    inputs = feeds(graph.contract, seed, sizes)
    seen = kept + np.arange(1, rows + 1)
    inputs["mask"] = (np.arange(state.capacity) < seen[:, None])[None, None]
    inputs["write_index"] = np.array([kept], np.int64)
    bound = graph.bind(sizes, state)
    for name in bound.inputs:
        bound.inputs[name][...] = inputs[name]
    bound.run()
    return state, bound.outputs["logits"].copy()


@pytest.mark.parametrize("name", ["thinker_step", "talker_step"])
def test_what_was_written_stays_and_nothing_is_read_behind_it(
    growing: tuple[Omni, Machine], name: str
) -> None:
    ours, _ = growing
    graph = ours.model.graph(name)
    state = graph.new_state(5)
    assert isinstance(state, EngineState) and state.capacity == GROWING[0]
    theirs = OrtBackend(1).load(ours.bundle.graph(name), graph.contract)
    reference: State = theirs.new_state(GROWING[0])
    for seed, (kept, rows) in enumerate(STEPS):
        twin = state.copy(kept)  # it goes on alone
        _, found = run(graph, state, kept, rows, seed)
        _, wanted = run(theirs, reference, kept, rows, seed)
        _, copied = run(graph, twin, kept, rows, seed)
        assert state.capacity == reference.capacity == twin.capacity
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
        np.testing.assert_array_equal(copied, found)
    assert state.capacity == 256


def test_a_capacity_that_the_engine_does_not_take(growing: tuple[Omni, Machine]) -> None:
    ours, _ = growing
    graph = ours.model.graph("thinker_step")
    state = graph.new_state(100)
    assert state.capacity == 100 and graph.limit("capacity") == GROWING[-1]
    with pytest.raises(OmnijetError, match="cannot grow"):
        state.grow(GROWING[-1] + 1, 3)
    with pytest.raises(OmnijetError, match="built for other sizes"):
        graph.new_state(GROWING[-1] + 1)
    state.grow(50, 3)  # there is room already
    assert state.capacity == 100


def test_caches_are_used_again(growing: tuple[Omni, Machine]) -> None:
    """The last ones are kept, those that were outgrown are let go."""
    ours, made = growing
    graph = ours.model.graph("talker_step")
    allocated = []
    for _ in range(3):
        state = graph.new_state(5)
        for capacity in (64, 128, 256):
            state.grow(capacity, 0)
        del state
        allocated.append(made.gpu.calls["cudaMalloc"])
    # those of 32, 64 and 128 rows are made anew, two buffers each
    assert np.diff(allocated).tolist() == [6, 6]
