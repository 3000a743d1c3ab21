"""The operators of the graphs that this package writes: no other graph is loaded.

The lists are what export and quantization really write for every precision, size and recipe; a test
compares them. Operators of lowered graphs are in `omnijet.engines.lowered_operators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ORT_DOMAIN = "com.microsoft"
ORT_LAYOUT_DOMAIN = "com.microsoft.nchwc"


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators that a graph may have.

    Attributes:
        standard: those of ONNX itself.
        loop: those in the body of a Scan or a branch of an If; empty: there is neither. Nothing
            else has a body, and a body holds no further one.
        ort: those of ONNX Runtime's own domain.
        loop_ort: those of ONNX Runtime's own domain in bodies and branches.
        layout: those of ONNX Runtime's domain for images in blocks of channels.
    """

    standard: frozenset[str]
    loop: frozenset[str] = field(default_factory=frozenset)
    ort: frozenset[str] = field(default_factory=frozenset)
    loop_ort: frozenset[str] = field(default_factory=frozenset)
    layout: frozenset[str] = field(default_factory=frozenset)


_EXPORTED = """
Add Attention Cast CastLike Concat Constant Conv ConvTranspose Div Expand Gather Gelu
LayerNormalization MatMul Max Min Mul Pad RMSNormalization ReduceMean Reshape RotaryEmbedding Scan
Shape Sigmoid Sin Slice Split Squeeze TensorScatter Transpose Unsqueeze
"""
_QUANTIZED = "DequantizeLinear QuantizeLinear"
_LOOP = "Attention"
_OLDER_LOOP = "Constant Squeeze Unsqueeze"
"""In loops of bundles, and of graphs built from them, whose vision encoder takes one picture."""

STANDARD = Operators(
    frozenset(f"{_EXPORTED} {_QUANTIZED}".split()), frozenset(f"{_LOOP} {_OLDER_LOOP}".split())
)
"""Graphs as `export` writes them, and quantized ones in standard operators."""

CPU = Operators(
    STANDARD.standard, STANDARD.loop, frozenset({"MatMulNBits", "MatMulIntegerToFloat"})
)
"""Graphs that ONNX Runtime runs: also quantized ones in the form for its CPU provider."""

_BRANCHES = {"MatMul", "Reshape", "Softmax", "Where"}
_ROWS = {
    "Add",
    "Div",
    "Gemm",
    "Mul",
    "QuantizeLinear",
    "RMSNormalization",
    "RotaryEmbedding",
    "Split",
}
_ROWS_ORT = {"MatMulIntegerToFloat", "MatMulNBits", "QuickGelu", "SkipSimplifiedLayerNormalization"}
FUSED: Mapping[str, Operators] = {
    "cpu": Operators(
        CPU.standard | {"If", "Less", "Sub", "Where"},
        CPU.loop | _BRANCHES | _ROWS,
        CPU.ort | {"MultiHeadAttention", "QuickGelu", "SkipSimplifiedLayerNormalization"},
        frozenset({"FusedMatMul"}) | _ROWS_ORT,
        frozenset({"Conv", "ReorderInput", "ReorderOutput"}),
    ),
    "cuda": Operators(
        CPU.standard | {"ConstantOfShape", "Sub", "Where"},
        CPU.loop,
        CPU.ort
        | {
            "GroupQueryAttention",
            "MultiHeadAttention",
            "QuickGelu",
            "SkipSimplifiedLayerNormalization",
        },
    ),
    "cpu-jp62": Operators(
        CPU.standard - {"Attention", "RMSNormalization", "RotaryEmbedding", "TensorScatter"}
        | {"Range", "ScatterND", "Softmax", "Sqrt", "Sub", "Where"},
        frozenset({"Identity", "MatMul", "Softmax", *_OLDER_LOOP.split()}),
        CPU.ort | {"QuickGelu", "SkipSimplifiedLayerNormalization"},
    ),
}
"""Graphs that `omnijet build` makes for ONNX Runtime, by target. Those for the CPU may be what ONNX
Runtime's optimizer saved.
"""
