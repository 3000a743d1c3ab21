"""Attention in one operator computes what the canonical graph does, in odd chunks and rewound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused.grouped_query import MOST_ROWS, WIDTHS, GroupedQueries
from omnijet.runtime.bundle.contract import GraphContract
from omnijet.runtime.bundle.manifest import GraphEntry, Manifest
from tests.engines.lowering.fused.steps import CAPACITY, Stepper, converse
from tests.quantization.graphs import error, feeds

GRAPHS = ("thinker_step", "talker_step")
REPLACED = {"Attention", "RotaryEmbedding"}
grouped = Lowering(
    lambda constants, contract: (GroupedQueries(constants, {ir.DataType.FLOAT}),),
    domains=(DOMAIN,),
)
"""In f32, where ONNX Runtime's CPU provider computes as exactly as the canonical graph."""


def lowered(bundle: Path, graph: str, folder: Path) -> tuple[GraphContract, Path, Path, GraphEntry]:
    """Returns (contract, canonical file, lowered file, entry of the lowered graph)."""
    contract = Manifest.read(bundle).contracts[graph]
    source = bundle / "graphs" / f"{graph}.onnx"
    entry = grouped(source, contract, folder, 7, lambda count: None)
    return contract, source, folder / f"{graph}.onnx", entry


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("bundle", ["trained", "nano", "nano_7b"])
def test_a_conversation(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: str, graph: str
) -> None:
    contract, source, path, entry = lowered(request.getfixturevalue(bundle)[1], graph, tmp_path)
    if contract.input("key_cache_0").axes[-1] % WIDTHS == 0:
        assert not REPLACED & entry.ops.keys() and entry.ops["TensorScatter"] == 2  # of the angles
        assert entry.ops["GroupQueryAttention"] == len(contract.state) // 2
    else:  # the operator has no such heads
        assert (bundle, graph) == ("nano_7b", "talker_step")
        assert entry.ops["Attention"] == len(contract.state) // 2
    for optimize in (False, True):
        steppers = Stepper(source, contract, optimize=optimize), Stepper(path, contract)
        for wanted, found in converse(steppers, contract):
            assert error(found, wanted) < 2e-6


def test_rows_beyond_the_filled_are_not_read(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Neither is the mask: a NaN in either would spread over every result."""
    contract, _, path, _ = lowered(trained[1], "talker_step", tmp_path)
    inputs = feeds(contract, 1, {"rows": 5, "capacity": CAPACITY})
    inputs["write_index"] = np.array([20], np.int64)
    clean, spoilt = Stepper(path, contract), Stepper(path, contract)
    for value in spoilt._caches.values():
        rows = value.numpy().copy()
        rows[:, :, 25:] = np.nan
        value.update_inplace(rows)
    wanted = clean.run(inputs, 25)
    inputs["mask"] = ~inputs["mask"]
    np.testing.assert_equal(spoilt.run(inputs, 25), wanted)


def test_angles_belong_to_rows_not_to_places(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Positions of pictures repeat and jump: rows with equal angles give equal keys anywhere."""
    contract, _, path, _ = lowered(trained[1], "talker_step", tmp_path)
    inputs = feeds(contract, 1, {"rows": 1, "capacity": CAPACITY})
    keys = []
    for place in (0, 63, CAPACITY - 1):
        inputs["write_index"] = np.array([place], np.int64)
        found = Stepper(path, contract).run(inputs, CAPACITY)
        keys.append(found[1][:, :, place])
    assert keys[0].std() > 0
    np.testing.assert_array_equal(keys[0], keys[1])
    np.testing.assert_array_equal(keys[0], keys[2])


def test_other_precisions_stay(trained: tuple[Path, Path], tmp_path: Path) -> None:
    contract = Manifest.read(trained[1]).contracts["talker_step"]
    source = trained[1] / "graphs" / "talker_step.onnx"
    halves = Lowering(lambda constants, _: (GroupedQueries(constants, {ir.DataType.FLOAT16}),))
    entry = halves(source, contract, tmp_path, 0, lambda count: None)
    assert "GroupQueryAttention" not in entry.ops and entry.ops["Attention"] > 0


def test_the_table_of_rows_holds_every_context(trained: tuple[Path, Path], tmp_path: Path) -> None:
    *_, path, _ = lowered(trained[1], "talker_step", tmp_path)
    numbers = [one for name, one in ir.load(path).graph.initializers.items() if "numbers" in name]
    (value,) = numbers
    assert value.const_value is not None
    np.testing.assert_array_equal(value.const_value.numpy(), np.arange(MOST_ROWS))
