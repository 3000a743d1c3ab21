"""Graph passes that turn a traced graph into the canonical one.

Each pass is one class with one promise. No pass reads a weight: initializers are shapes
without values while the passes run.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common

from omnijet.export.graphfile.constants import const_ints


def canonicalize(model: ir.Model) -> ir.Model:
    """Returns the model with the canonical graph, which is smaller and computes the same."""
    passes = ir.passes.Sequential(
        common.InlinePass(),
        SplitNotSequence(),
        StaticReshape(),
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(size_limit=64),
        TrimOptionalOutputs(),
        ScanBlocks(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
        common.TopologicalSortPass(),
    )
    return passes(model).model


class SplitNotSequence(ir.passes.InPlacePass):
    """Replaces SplitToSequence and its SequenceAt nodes by one Split: no sequences remain."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        found = [node for node in graph if node.op_type == "SplitToSequence"]
        for node in found:
            readers = list(node.outputs[0].consumers())
            assert all(reader.op_type == "SequenceAt" for reader in readers)
            data, split = node.inputs
            sizes = const_ints(split)
            assert data is not None and data.dtype is not None and sizes is not None
            axis = node.attributes["axis"].as_int()
            new = ir.node(
                "Split", [data, split], {"axis": axis}, num_outputs=len(sizes), name=node.name
            )
            for part, size in zip(new.outputs, sizes, strict=True):
                part.dtype = data.dtype
                if data.shape is not None:
                    dims = list(data.shape)
                    dims[axis] = size
                    part.shape = ir.Shape(dims)
            graph.insert_before(node, new)
            for reader in readers:
                index = const_ints(reader.inputs[1])
                assert index is not None
                part = new.outputs[index[0]]
                part.name = reader.outputs[0].name
                ir.convenience.replace_all_uses_with(reader.outputs[0], part)
                graph.remove(reader, safe=True)
            graph.remove(node, safe=True)
        return ir.passes.PassResult(model, modified=bool(found))


class StaticReshape(ir.passes.InPlacePass):
    """Writes -1 for the one unknown length of a Reshape instead of computing it.

    Each Reshape loses a chain of Shape, Squeeze and Concat nodes, which a decode step would
    run for every token.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type == "Reshape" and (target := self._target(node)) is not None:
                shape = ir.node(
                    "Constant", [], {"value": ir.tensor(target, dtype=ir.DataType.INT64)}
                )
                shape.outputs[0].dtype = ir.DataType.INT64
                shape.outputs[0].shape = ir.Shape([len(target)])
                model.graph.insert_before(node, shape)
                node.replace_input_with(1, shape.outputs[0])
                node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)
                modified = True
        return ir.passes.PassResult(model, modified=modified)

    @staticmethod
    def _target(node: ir.Node) -> list[int] | None:
        shape = node.inputs[1]
        concat = shape.producer() if shape is not None else None
        if concat is None or concat.op_type != "Concat":
            return None
        target: list[int] = []
        for part in concat.inputs:
            known = const_ints(part)
            target += [-1] if known is None else known
        return target if target.count(-1) == 1 and 0 not in target else None


class ScanBlocks(ir.passes.InPlacePass):
    """Turns `ops.block_attention` into a Scan over the query blocks around a valid Attention.

    The traced Attention has many query blocks for each set of keys, which ONNX does not allow.
    In the loop body there is one block for each set; keys and values come from outside the loop.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if self._has_blocks(node)]
        for node in found:
            self._loop(model.graph, node)
        return ir.passes.PassResult(model, modified=bool(found))

    @staticmethod
    def _loop(graph: ir.Graph, node: ir.Node) -> None:
        q, keys, values = node.inputs[:3]
        assert q is not None and q.shape is not None and q.dtype is not None
        assert keys is not None and keys.shape is not None
        sets, kind = keys.shape[0], ir.TensorType(q.dtype)
        block = [size for size in q.shape[1:] if isinstance(size, int)]
        assert len(block) == 3, q

        own = ir.Value(name=f"{node.name}_q", shape=ir.Shape([sets, *block]), type=kind)
        attention = ir.node("Attention", [own, keys, values], name=f"{node.name}_attention")
        (seen,) = attention.outputs
        seen.name, seen.shape, seen.type = attention.name, own.shape, kind
        body = ir.Graph([own], [seen], nodes=[attention], name=f"{node.name}_body")

        made: list[ir.Node] = []

        def op(what: str, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
            made.append(ir.node(kind, inputs, attributes, name=f"{node.name}_{what}"))
            return made[-1].outputs[0]

        flat = op("flat", "Constant", value_ints=[-1, *block])
        count = op("sets", "Shape", keys, start=0, end=1)
        by_set = op("split", "Reshape", q, op("shape", "Concat", count, flat, axis=0))
        looped = op(
            "scan", "Scan", by_set, body=body, num_scan_inputs=1,
            scan_input_axes=[1], scan_output_axes=[1],
        )  # fmt: skip
        for value in (by_set, looped):
            value.type, value.shape = kind, ir.Shape([sets, None, *block])
        old, new = node.outputs[0], op("joined", "Reshape", looped, flat)
        new.shape, new.type, new.name = old.shape, old.type, old.name
        graph.insert_before(node, made)
        ir.convenience.replace_all_uses_with(old, new)
        graph.remove(node, safe=True)

    @staticmethod
    def _has_blocks(node: ir.Node) -> bool:
        if node.op_type != "Attention":
            return False
        q, keys = node.inputs[:2]
        assert q is not None and q.shape is not None and keys is not None and keys.shape is not None
        return bool(q.shape[0] != keys.shape[0])


class TrimOptionalOutputs(ir.passes.InPlacePass):
    """Removes trailing outputs of Attention that no node reads.

    Engine builders refuse an Attention that declares present-cache outputs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        results = set(model.graph.outputs)
        for node in model.graph:
            used = len(node.outputs)
            while used > 1 and not (
                node.outputs[used - 1].uses() or node.outputs[used - 1] in results
            ):
                used -= 1
            if node.op_type == "Attention" and used < len(node.outputs):
                node.resize_outputs(used)
                modified = True
        return ir.passes.PassResult(model, modified=modified)
