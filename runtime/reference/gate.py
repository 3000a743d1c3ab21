"""How far an engine may be from the reference, and why.

An engine is right if it computes what its graph says, with the rounding of its own numbers. Each
layer rounds anew, and the errors of many layers add up like noise: with the square root of their
number. A wrong layer is of another order: what it adds is as large as what it should add.

| computed in | least signal to error | why |
|---|---|---|
| f32, processor | 50 dB | a rounding is 2^-24, and only the order of sums differs |
| f32, GPU | 30 dB | tensor cores multiply TF32, which has the 10 bits of f16 |
| f16 | 30 dB | 2^-11 in 250 roundings of 36 layers is 0.5 %, 47 dB; kernels may add in f16 |
| bf16 | 18 dB | 2^-8 is eight times as much: 4 %, 29 dB |
| 8-bit activations | 24 dB | a value between two integers may fall to either side |
| integers, processor | 14 dB | it rounds activations that the graph has as floats |

Omnijet-nano with every result rounded is 70 dB from f32 in f16, and 44 dB in bf16, at five layers;
its DiT with 8-bit activations moves by 37 dB.

Where a graph itself is less steady, its own limit counts: at recording its inputs are moved by one
unit of the precision, and an engine may be `ROOM_DB` farther away than that moved its outputs. No
limit is below `LEAST_DB`, where the error is a third of the signal.

The most likely token must be the recorded one, unless that was nearly as likely: a noise of the
share that the limit allows changes the order of two logits that are no farther apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.reference.distance import Distance

FLOATS: Mapping[Precision, float] = {"f32": 50.0, "f16": 30.0, "bf16": 18.0}
TENSOR_CORES = 30.0
ROUNDED_ACTIVATIONS = 24.0
INTEGER_PRODUCTS = 14.0
ROOM_DB = 12.0
LEAST_DB = 10.0
TIE = 4.0
"""Standard deviations of the noise between two logits that may change places."""
RELATIVE: Mapping[Precision, float] = {"f32": 2.0**-11, "f16": 2.0**-11, "bf16": 2.0**-8}
"""How far inputs are moved at recording: one unit of the precision, that of TF32 for f32."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes a graph, as far as it decides how precisely.

    Attributes:
        precision: of the floats that are multiplied.
        on_gpu: whether a GPU computes.
        rounds_activations: whether the graph says so.
        integer_products: whether activations are rounded that the graph has as floats.
    """

    precision: Precision
    on_gpu: bool
    rounds_activations: bool = False
    integer_products: bool = False

    @staticmethod
    def of(manifest: Manifest, graph: str, *, on_gpu: bool) -> Machine:
        """Returns the machine for a graph of a bundle."""
        layers = manifest.quantization.get("layers", {}).get(graph)
        schemes = [str(one) for one in layers.values()] if isinstance(layers, dict) else []
        return Machine(
            computes_in(manifest, graph),
            on_gpu,
            any("activations" in scheme for scheme in schemes),
            bool(layers) and not on_gpu,
        )

    @property
    def limit_db(self) -> float:
        """The least signal to error that passes, for a steady graph."""
        limits = [FLOATS[self.precision]]
        if self.on_gpu:
            limits.append(TENSOR_CORES)
        if self.rounds_activations:
            limits.append(ROUNDED_ACTIVATIONS)
        if self.integer_products:
            limits.append(INTEGER_PRODUCTS)
        return min(limits)


def computes_in(manifest: Manifest, graph: str) -> Precision:
    """Returns the precision that a graph computes in: speech is always synthesized in f32."""
    if graph == "vocoder":
        return "f32"
    return manifest.dims.dit.products if graph == "dit_step" else manifest.precision


def limit_db(machine: Machine, moved_db: float) -> float:
    """Returns the least signal to error of an output that passes.

    Args:
        moved_db: how far the recorded graph's own output moved; see above.
    """
    return max(min(machine.limit_db, moved_db - ROOM_DB), LEAST_DB)


def fault_of(found: Distance, least_db: float) -> str | None:
    """Returns what is wrong with an output; None: nothing."""
    if found.fault is not None:
        return found.fault
    noise = 10 ** (-least_db / 20)
    if found.snr_db < least_db:
        return (
            f"signal to error {found.snr_db:.1f} dB, cosine {found.cosine:.4f}; "
            f"rounding leaves {least_db:.0f} dB at least"
        )
    if found.behind > TIE * noise:
        return (
            f"{found.rows - found.top} of {found.rows} most likely tokens are others, one by "
            f"{found.behind:.2g} of the spread of all logits"
        )
    return None
