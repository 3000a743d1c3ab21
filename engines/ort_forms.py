"""How ONNX Runtime's CPU provider holds the weights of each graph, chosen by measurement.

Seconds of one thread, 3B, ONNX Runtime 1.32, AMD Zen 4 with AVX-512 VNNI; a copy in the order of
the kernels is made at every load (`packs`), or at every product (mapped):

| graph | load, packs | load, mapped | run, packs | run, mapped |
|---|---|---|---|---|
| audio encoder, 2 s of sound, f32 | 2.8 | 0.03 | 1.32 | 1.60 |
| DiT, 2 branches of 4 blocks, f32 | 1.05 | 0.03 | 0.85 | 1.01 |
| vocoder, 48 frames, f32 | 0.12 | 0.06 | 1.13 | 1.15 |
| a product of 2,048 x 11,008, 1 row | | | 0.0046 | 0.0040 |
| the same, 50 rows | | | 0.026 | 0.035 |
| the same, 512 rows | | | 0.240 | 0.250 |
| INT8, 1,280 x 5,120, 50 rows | | | 0.0044 | 0.0048 |
| the same, 512 rows | | | 0.0417 | 0.0435 |

So an encoder, which runs once for each sound or picture, stays mapped: its gigabytes are pages of
the file, which the system may take back. Steps that run many times pack.

ONNX Runtime can save packed weights, too. That gains nothing: it packs the originals at every load
all the same, to find the saved copy by its hash. The Thinker in INT4 then took 3.5 s of processor
time to load instead of 2.7, and 3.9 GB of disk instead of 1.8.

What its optimizer makes of a graph is worth saving where it rewrites weights: the vocoder's
convolutions get blocks of channels as wide as the processor's registers. Loading took 0.12 s
instead of 0.66, and 0.4 GB of weights stayed mapped.
"""

from __future__ import annotations

from pathlib import Path

MAPPED = frozenset({"audio_encoder", "vision_encoder"})
OPTIMIZED = frozenset({"vocoder"})
"""They belong to one processor: the lowering, too, writes blocks of its width."""

_NEEDS_PACKING = b"MatMulNBits"
"""It has no kernel of use for weights that are not packed."""


def packs(graph: Path) -> bool:
    """Returns whether the weights of a lowered graph file are packed when it is loaded."""
    return graph.stem not in MAPPED or _NEEDS_PACKING in graph.read_bytes()
