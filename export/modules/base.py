"""What every graph module is made of: parameters that know where their values come from.

A graph module is built on the meta device: it holds shapes, never values. Each
parameter names its `Source` in the checkpoint; the exporter streams the values from
there into the graph's weight file, and `materialize` loads them for running in torch.
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
    """Where a parameter's value comes from.

    `keys` are checkpoint tensors, joined along axis 0, then transposed if `transpose`, then
    read in the parameter's own shape.
    With `fold`, the value is `fold(tensors)` in float32 instead: for small tensors only,
    since it is computed in memory. `shape` is what each key must have in the checkpoint.
    """

    keys: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transpose: bool = False
    fold: Callable[[Sequence[Tensor]], Tensor] | None = None


class TensorReader(Protocol):
    """A checkpoint as the modules see it: tensors by key, read when asked for."""

    def tensor(self, key: str) -> Tensor: ...


class Sourced(nn.Module):
    """A module whose own parameters have sources, by parameter name."""

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
        """Declares parameter `name` (graph shape `shape`) with its source."""
        value = torch.empty(tuple(shape), dtype=dtype, device="meta")
        self.register_parameter(name, nn.Parameter(value, requires_grad=False))
        self.sources[name] = source


class Linear(Sourced):
    """y = x W + b with W stored as [in, out], several projections side by side.

    f32 in, f32 out; with weights of 16 bits the product itself runs in them. `shift` guards a
    product whose operands may leave the range of f16: x is scaled by 2**-shift before
    and the result by 2**shift after (exact; skipped in f32 and bf16, which reach as far as any).
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
    """Every parameter of a graph module by its full name, with its source."""
    found: dict[str, Source] = {}
    for path, child in module.named_modules():
        if isinstance(child, Sourced):
            for name, source in child.sources.items():
                found[f"{path}.{name}" if path else name] = source
    return found


def load_source(source: Source, weights: TensorReader) -> Tensor:
    """The value of one source, whole in memory, in the checkpoint's dtype (f32 if folded)."""
    tensors = [weights.tensor(key) for key in source.keys]
    if source.fold is not None:
        return source.fold([t.float() for t in tensors])
    value = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return value.flatten(1).t().contiguous() if source.transpose else value


def shaped(value: Tensor, shape: Sequence[int], name: str) -> Tensor:
    """The value in its parameter's shape, which may only have more axes of one."""
    own, wanted = ([size for size in sizes if size > 1] for sizes in (value.shape, shape))
    assert own == wanted, (name, value.shape, shape)
    return value.reshape(tuple(shape))


def materialize(module: nn.Module, weights: TensorReader) -> nn.Module:
    """Loads every parameter of a meta-device graph module: for parity in torch."""
    for name, source in weight_sources(module).items():
        path, _, leaf = name.rpartition(".")
        parameter = module.get_parameter(name)
        value = shaped(load_source(source, weights).to(parameter.dtype), parameter.shape, name)
        owner = module.get_submodule(path)
        owner.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    return module
