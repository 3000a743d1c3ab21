"""Base classes of graph modules, whose parameters know their source in the checkpoint.

A graph module is built on the meta device: it holds shapes, never values. Each parameter
names its `Source` in the checkpoint; the exporter streams the values from there into the
graph's weight file, and `materialize` loads them to run the module in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from omnijet.export.modules import ops
from omnijet.runtime.bundle.contract import Precision

TORCH_DTYPES: dict[Precision, torch.dtype] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a parameter's value in the checkpoint.

    Attributes:
        keys: The checkpoint's tensors, joined along axis 0.
        shapes: The shape of each tensor in the checkpoint.
        transpose: Whether the joined tensor is transposed. The result is then reshaped to
            the parameter's shape.
        fold: Computes the value from the float32 tensors instead. Only for small tensors,
            since the value is computed in memory.
    """

    keys: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transpose: bool = False
    fold: Callable[[Sequence[Tensor]], Tensor] | None = None


class TensorReader(Protocol):
    """A checkpoint as the modules see it: tensors by key, read on demand."""

    def tensor(self, key: str) -> Tensor: ...


class Sourced(nn.Module):
    """A module that keeps the source of each of its own parameters by name."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[str, Source] = {}

    def add(
        self,
        name: str,
        shape: Iterable[int],
        source: Source,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Declares a parameter with its shape in the graph, its source and its dtype."""
        value = torch.empty(tuple(shape), dtype=dtype, device="meta")
        self.register_parameter(name, nn.Parameter(value, requires_grad=False))
        self.sources[name] = source


class Linear(Sourced):
    """y = x W + b with W stored as [in, out] and several projections side by side.

    Input and output are f32; with 16-bit weights the product itself runs in 16 bits. `shift`
    guards a product whose operands may leave the range of f16: x is scaled by 2**-shift
    before and the result by 2**shift after the product. This is exact, and f32 and bf16 do
    without it, because their range suffices.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        keys: str | Sequence[str],
        in_features: int,
        out_features: int | Sequence[int],
        *,
        bias: bool,
        precision: Precision,
        shift: int = 0,
    ) -> None:
        super().__init__()
        names = (keys,) if isinstance(keys, str) else tuple(keys)
        widths = (out_features,) if isinstance(out_features, int) else tuple(out_features)
        self.dtype = TORCH_DTYPES[precision]
        self.scale = 2.0**shift if precision == "f16" and shift else None
        self.add(
            "weight",
            (in_features, sum(widths)),
            Source(
                tuple(f"{name}.weight" for name in names),
                tuple((width, in_features) for width in widths),
                transpose=True,
            ),
            self.dtype,
        )
        if bias:
            self.add(
                "bias",
                (sum(widths),),
                Source(tuple(f"{name}.bias" for name in names), tuple((w,) for w in widths)),
            )
        else:
            self.bias = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is not None:
            x = x / self.scale
        y: Tensor = ops.matmul(x.to(self.dtype), self.weight).float()
        if self.scale is not None:
            y = y * self.scale
        return y if self.bias is None else y + self.bias


def weight_sources(module: nn.Module) -> dict[str, Source]:
    """Returns the source of every parameter of a graph module by the parameter's full name."""
    found: dict[str, Source] = {}
    for path, child in module.named_modules():
        if isinstance(child, Sourced):
            for name, source in child.sources.items():
                found[f"{path}.{name}" if path else name] = source
    return found


def load_source(source: Source, weights: TensorReader) -> Tensor:
    """Loads the value of a source into memory, in the checkpoint's dtype (f32 if folded)."""
    tensors = [weights.tensor(key) for key in source.keys]
    if source.fold is not None:
        return source.fold([t.float() for t in tensors])
    value = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return value.flatten(1).t().contiguous() if source.transpose else value


def shaped(value: Tensor, shape: Sequence[int], name: str) -> Tensor:
    """Reshapes a value to its parameter's shape, which may only differ in axes of length 1."""
    own, wanted = ([size for size in sizes if size > 1] for sizes in (value.shape, shape))
    assert own == wanted, (name, value.shape, shape)
    return value.reshape(tuple(shape))


def materialize(module: nn.Module, weights: TensorReader) -> nn.Module:
    """Loads every parameter of a meta-device graph module, so that it runs in torch."""
    for name, source in weight_sources(module).items():
        path, _, leaf = name.rpartition(".")
        parameter = module.get_parameter(name)
        value = shaped(load_source(source, weights).to(parameter.dtype), parameter.shape, name)
        owner = module.get_submodule(path)
        owner.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    return module
