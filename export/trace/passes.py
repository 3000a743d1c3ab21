"""Graph passes that turn a traced graph into the canonical one.

Each pass is one class with one promise. No pass reads a weight: initializers are shapes
without values while the passes run.
"""

from __future__ import annotations

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

    The traced Attention has many query blocks but one set of keys, which ONNX does not
    allow. In the loop body both batches are 1; keys and values come from outside the loop.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph if self._has_blocks(node)]
        for node in found:
            q, keys, values = node.inputs[:3]
            assert q is not None and q.shape is not None and q.dtype is not None
            own = ir.Value(
                name=f"{node.name}_q", shape=ir.Shape(q.shape[1:]), type=ir.TensorType(q.dtype)
            )
            axes = ir.node("Constant", [], {"value_ints": [0]}, name=f"{node.name}_axes")
            batch = ir.node("Unsqueeze", [own, axes.outputs[0]], name=f"{node.name}_unsqueeze")
            seen = ir.node(
                "Attention", [batch.outputs[0], keys, values], name=f"{node.name}_attention"
            )
            out = ir.node("Squeeze", [seen.outputs[0], axes.outputs[0]], name=f"{node.name}_out")
            for inner in (axes, batch, seen, out):  # names must be unique across graph and body
                inner.outputs[0].name = inner.name
            for inner in (batch, seen):
                inner.outputs[0].type = own.type
            result = out.outputs[0]
            result.shape, result.type = own.shape, own.type
            body = ir.Graph(
                [own], [result], nodes=[axes, batch, seen, out], name=f"{node.name}_body"
            )
            scan = ir.node("Scan", [q], {"body": body, "num_scan_inputs": 1}, name=node.name)
            old, new = node.outputs[0], scan.outputs[0]
            new.shape, new.type, new.name = old.shape, old.type, old.name
            model.graph.insert_before(node, scan)
            ir.convenience.replace_all_uses_with(old, new)
            model.graph.remove(node, safe=True)
        return ir.passes.PassResult(model, modified=bool(found))

    @staticmethod
    def _has_blocks(node: ir.Node) -> bool:
        if node.op_type != "Attention":
            return False
        q, keys = node.inputs[:2]
        assert q is not None and q.shape is not None and keys is not None and keys.shape is not None
        return bool(q.shape[0] != 1 and keys.shape[0] == 1)


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
