"""Sets the opset that a file states."""

from __future__ import annotations

import onnx_ir as ir

from omnijet.engines.lowering.parser_10_3 import BLOCKS_IR, BLOCKS_OPSET, FLOATS_IR, FLOATS_OPSET


class OlderOpset(ir.passes.InPlacePass):
    """Promise: the file states opset 20, or 21 where weights are dequantized in blocks.

    The remaining operators differ from newer versions only in their types (the ONNX checker
    decides when the file is saved).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        blocks = any("block_size" in node.attributes for node in model.graph)
        model.opset_imports[""] = BLOCKS_OPSET if blocks else FLOATS_OPSET
        model.ir_version = BLOCKS_IR if blocks else FLOATS_IR
        return ir.passes.PassResult(model, modified=True)
