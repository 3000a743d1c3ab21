"""The form for TensorRT 10.3 (JetPack 6.2) and 10.13 (Thor on JetPack 7.0).

Attention, RotaryEmbedding, RMSNormalization and TensorScatter become older operators. The boundary
stays as it is, but TensorRT 10.3 updates nothing in place: an engine needs two sets of KV caches
that swap roles at each step. In return, their length need not be fixed: an engine takes a range of
lengths, and its caches grow with the conversation, so that attention reads what is filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from omnijet.engines.lowering.attention import DecomposedAttention
from omnijet.engines.lowering.blocks import FloatBlocks
from omnijet.engines.lowering.cache import WrittenRows
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.native import ConstantAxes
from omnijet.engines.lowering.norm import DecomposedNorm
from omnijet.engines.lowering.opset import OlderOpset
from omnijet.engines.lowering.parser_10_3 import BLOCKS_OPSET, OPERATORS
from omnijet.engines.lowering.query_blocks import JoinedBlocks, LoopedBlocks
from omnijet.engines.lowering.rotary import DecomposedRotary
from omnijet.runtime.bundle.contract import GraphContract

FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return (
        ConstantAxes(constants),
        LoopedBlocks(constants),
        JoinedBlocks(constants),
        DecomposedAttention(constants, FLOATS),
        DecomposedRotary(constants),
        DecomposedNorm(constants),
        WrittenRows(constants),
        FloatBlocks(constants),
        OlderOpset(),
    )


lower = Lowering(_passes, newest_opset=BLOCKS_OPSET, operators=OPERATORS)
