"""Gives axes of a lowered graph one size, and checks what the parser made of all axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from omnijet.runtime.backends.trt.names import DTYPES
from omnijet.runtime.bundle.contract import FoundTensor, GraphContract, TensorSpec, verify


def fix_axes(path: Path, sizes: Mapping[str, int]) -> None:
    """Replaces symbols in a graph file by sizes, in place; weights are not read."""
    if not sizes:
        return
    model = onnx.load(path, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in sizes:
                axis.dim_value = sizes[axis.dim_param]
    onnx.save(model, path)


def require_contract(
    contract: GraphContract, verdict: Mapping[str, Any], fixed: Mapping[str, int], where: object
) -> None:
    """Checks that the boundary that the builder parsed is the contract's.

    Args:
        verdict: the worker's; `inputs` and `outputs` are (name, dtype, axes), -1 if dynamic.
        fixed: symbols that have one size.

    Raises:
        ContractError: the boundary differs.
    """
    specs = {spec.name: spec for spec in contract.inputs + contract.outputs}
    found = {
        kind: [_found(name, dtype, axes, specs.get(name), fixed) for name, dtype, axes in tensors]
        for kind, tensors in ((kind, verdict[kind]) for kind in ("inputs", "outputs"))
    }
    verify(contract, found["inputs"], found["outputs"], where)


def _found(
    name: str, dtype: str, axes: list[int], spec: TensorSpec | None, fixed: Mapping[str, int]
) -> FoundTensor:
    """Returns the parsed tensor as a spec; a dynamic axis takes the contract's symbol."""
    named: list[int | str | None] = [None if axis < 0 else axis for axis in axes]
    if spec is not None and len(spec.axes) == len(axes):
        for place, (axis, wanted) in enumerate(zip(axes, spec.axes, strict=True)):
            if isinstance(wanted, str) and (axis < 0 or axis == fixed.get(wanted)):
                named[place] = wanted
    return FoundTensor(name, DTYPES.get(dtype, dtype), tuple(named))
