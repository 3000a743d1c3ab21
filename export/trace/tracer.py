"""Traces a graph module on the meta device into a canonical ONNX model without weights."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from omnijet.export.graphfile.dtypes import IR_DTYPES
from omnijet.export.modules import ops
from omnijet.export.trace.passes import canonicalize
from omnijet.runtime.bundle.contract import DType, GraphContract, TensorSpec, split_axis

TORCH_DTYPES: dict[DType, torch.dtype] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "bool": torch.bool,
}

# Distinct sizes keep torch from merging two symbols; capacity must exceed rows.
TRACE_SIZES: dict[str, int] = {
    "chunks": 3,
    "tokens": 37,
    "cells": 7,
    "windows": 5,
    "pictures": 2,
    "picture_cells": 11,
    "rows": 6,
    "picked": 9,
    "capacity": 31,
    "branches": 2,
    "blocks": 4,
    "frames": 23,
}


def trace(module: nn.Module, contract: GraphContract) -> ir.Model:
    """Traces `module` with the contract's symbols as dynamic dimensions.

    Nothing is computed and no weight is read: parameters stay on the meta device, and the
    model's initializers are names and shapes only.
    """
    feeds = tuple(_meta(spec) for spec in contract.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, feeds, dynamic_shapes=_dynamic_shapes(module, contract), strict=False
        )
        quiet = logging.getLogger("torch.onnx")
        level = quiet.level
        quiet.setLevel(logging.ERROR)
        try:
            traced = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=ops.OPSET,
                custom_translation_table=ops.translations(),
                optimize=False,
                input_names=[spec.name for spec in contract.inputs],
                output_names=[spec.name for spec in contract.outputs],
            )
        finally:
            quiet.setLevel(level)
    assert traced is not None
    model = canonicalize(traced.model)
    model.graph.name = contract.name
    model.producer_name = "omnijet"
    model.producer_version = None
    _declare(model.graph.inputs, contract.inputs)
    _declare(model.graph.outputs, contract.outputs)
    return model


def _meta(spec: TensorSpec) -> Tensor:
    return torch.empty(spec.shape(TRACE_SIZES), dtype=TORCH_DTYPES[spec.dtype], device="meta")


def _dynamic_shapes(module: nn.Module, contract: GraphContract) -> dict[str, Any]:
    """Maps arguments of `forward` to dynamic axes; a variadic one takes the remaining inputs."""
    dims: dict[str, Any] = {symbol: torch.export.Dim(symbol, min=1) for symbol in contract.symbols}
    specs = [_dynamic_axes(spec, dims) for spec in contract.inputs]
    shapes: dict[str, Any] = {}
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shapes[parameter.name] = tuple(specs)
            specs = []
        else:
            shapes[parameter.name] = specs.pop(0)
    assert not specs, f"{contract.name}: forward takes fewer arguments than the contract"
    return shapes


def _dynamic_axes(spec: TensorSpec, dims: Mapping[str, Any]) -> dict[int, Any]:
    axes: dict[int, Any] = {}
    for position, axis in enumerate(spec.axes):
        if isinstance(axis, str):
            factor, symbol = split_axis(axis)
            axes[position] = dims[symbol] if factor == 1 else factor * dims[symbol]
    return axes


def _declare(values: Any, specs: tuple[TensorSpec, ...]) -> None:
    """Replaces the tracer's axis names by the contract's, after checking the static axes."""
    assert len(values) == len(specs)
    for value, spec in zip(values, specs, strict=True):
        assert value.name == spec.name, (value.name, spec.name)
        assert value.dtype == IR_DTYPES[spec.dtype], (spec.name, value.dtype)
        assert value.shape is not None and len(value.shape) == len(spec.axes), (
            spec.name,
            value.shape,
        )
        for traced, axis in zip(value.shape, spec.axes, strict=True):
            if isinstance(axis, int):
                assert traced == axis, (spec.name, value.shape, spec.axes)
            else:
                assert not isinstance(traced, int), (spec.name, value.shape, spec.axes)
        value.shape = ir.Shape(list(spec.axes))
