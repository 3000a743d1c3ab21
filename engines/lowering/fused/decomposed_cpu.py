"""The form for an ONNX Runtime that reads no opset 24, on any processor.

ONNX Runtime 1.23 is the newest for Python 3.10, which is that of JetPack 6. It has no TensorScatter
and loads no canonical graph with caches. This form has the operators of opset 20 or 21 alone, and
ONNX Runtime's own of that time: integer products, norms of sums, SiLU. All floats are f32.

Nothing in it depends on the processor: a PC may write it for a device.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from omnijet.engines.lowering.attention import DecomposedAttention
from omnijet.engines.lowering.cache import ScatteredRows
from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN, BlockProducts, IntegerProducts
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused.choices import ANY
from omnijet.engines.lowering.fused.heads import JoinedRotary
from omnijet.engines.lowering.fused.norms import Silu, SkipNorms
from omnijet.engines.lowering.fused.products import Biases, Halves, WeightZeros
from omnijet.engines.lowering.fused.wide import UnguardedProducts, WideFloats
from omnijet.engines.lowering.native import ConstantAxes
from omnijet.engines.lowering.norm import DecomposedNorm
from omnijet.engines.lowering.opset import OlderOpset
from omnijet.engines.lowering.parser_10_3 import BLOCKS_OPSET
from omnijet.engines.lowering.query_blocks import LoopedBlocks
from omnijet.engines.lowering.rotary import DecomposedRotary
from omnijet.runtime.bundle.contract import GraphContract


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return (
        WideFloats(),
        UnguardedProducts(),
        BlockProducts(constants, ANY.levels(contract), halves=True),
        IntegerProducts(constants),
        Biases(),
        Halves(constants),
        WeightZeros(constants),
        ConstantAxes(constants),
        LoopedBlocks(constants),
        DecomposedAttention(constants, {ir.DataType.FLOAT}),
        JoinedRotary(constants),
        DecomposedRotary(constants),
        Silu(),
        SkipNorms(),
        DecomposedNorm(constants),
        ScatteredRows(constants),
        OlderOpset(),
    )


lower = Lowering(_passes, domains=(DOMAIN,), newest_opset=BLOCKS_OPSET, precision="f32")
