"""The operators of lowered graphs, by form: a builder gets no other graph.

A lowering passes on what it does not know, so a foreign graph would come out with its operators.
A test compares the lists with what the lowerings write.
"""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.engines.lowering.flavours import DENSE
from omnijet.runtime.bundle.operators import CPU, FUSED, STANDARD, Operators

_LOOP = frozenset({"Identity", "MatMul", "Softmax"})
"""Attention is decomposed there: no form has a fused one in f32."""
_NATIVE = Operators(STANDARD.standard | {"Softmax", "Where"}, _LOOP)
_DECOMPOSED = Operators(
    STANDARD.standard - {"Attention", "RMSNormalization", "RotaryEmbedding", "TensorScatter"}
    | {"Equal", "Range", "Softmax", "Sqrt", "Sub", "Where"},
    _LOOP,
)
LOWERED: Mapping[str, Operators] = {
    "native": _NATIVE,
    DENSE: _NATIVE,
    "decomposed": _DECOMPOSED,
    "cpu": CPU,
    "fused-cpu": FUSED["cpu"],
    "fused-cuda": FUSED["cuda"],
    "decomposed-cpu": FUSED["cpu-jp62"],
}
"""The operators of each form, by the names of `flavours.form_of`."""
