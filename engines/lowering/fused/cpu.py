"""The form that ONNX Runtime's CPU provider runs fastest.

Everything is in f32, caches too, and quantized products are ONNX Runtime's own. The vocoder's
convolutions work in blocks of channels, whose size is that of this machine's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from omnijet.engines.lowering.constants import Constants
from omnijet.engines.lowering.cpu import DOMAIN, BlockProducts, IntegerProducts
from omnijet.engines.lowering.frame import Lowering
from omnijet.engines.lowering.fused import blocks
from omnijet.engines.lowering.fused.choices import choice
from omnijet.engines.lowering.fused.column_parts import ColumnParts
from omnijet.engines.lowering.fused.encoders import PatchAttention
from omnijet.engines.lowering.fused.few_rows import FewRows
from omnijet.engines.lowering.fused.heads import JoinedRotary
from omnijet.engines.lowering.fused.norms import Silu, SkipNorms
from omnijet.engines.lowering.fused.products import Biases, Halves
from omnijet.engines.lowering.fused.row_loops import RowLoops
from omnijet.engines.lowering.fused.vocoder import BlockedVocoder
from omnijet.engines.lowering.fused.wide import UnguardedProducts, WideFloats
from omnijet.runtime.bundle.contract import GraphContract


def _passes(constants: Constants, contract: GraphContract) -> Sequence[ir.passes.InPlacePass]:
    if contract.name == "vocoder":
        return (BlockedVocoder(constants, blocks.block_size()),)
    fastest = choice()
    sees = contract.name == "vision_encoder"
    return (
        WideFloats(),
        UnguardedProducts(),
        BlockProducts(constants, fastest.levels(contract), halves=True),
        IntegerProducts(constants),
        Biases(),
        Halves(constants),
        *((PatchAttention(constants), ColumnParts(constants)) if sees else ()),
        JoinedRotary(constants),
        Silu(),
        SkipNorms(),
        FewRows(constants, fastest.few_rows),
        *((RowLoops(constants),) if sees else ()),
    )


lower = Lowering(_passes, domains=(DOMAIN, blocks.DOMAIN), precision="f32")
