"""The form that ONNX Runtime's CUDA provider runs fastest.

A step of one row is hundreds of small kernels, and each takes longer to launch than to run: fewer
are faster (`python -m tools.bench.kernels`). Values stay in the precision of the bundle: the
residual stream in f32, products and caches in its 16 bits.

What is left of float products, norms and activations is fused by ONNX Runtime itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN, BlockProducts
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused.encoders import PatchAttention
from omnijet.engines.lowering.fused.grouped_query import GroupedQueries
from omnijet.engines.lowering.fused.narrow import HALVES, ChannelProducts, NarrowBiases
from omnijet.engines.lowering.fused.norms import Silu, SkipNorms
from omnijet.runtime.bundle.contract import GraphContract

MANY_HEADS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
"""What ONNX Runtime's MultiHeadAttention takes with CUDA in every version that we support."""
LEVELS: Mapping[int, int] = {4: 0, 8: 0}
"""Accuracy levels of MatMulNBits by bits: CUDA has one way to compute it."""


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    return (
        GroupedQueries(constants, HALVES),
        *((PatchAttention(constants, MANY_HEADS),) if contract.name == "vision_encoder" else ()),
        NarrowBiases(constants),
        BlockProducts(constants, LEVELS),
        ChannelProducts(constants),
        Silu(),
        SkipNorms(),
    )


lower = Lowering(_passes, domains=(DOMAIN,))
