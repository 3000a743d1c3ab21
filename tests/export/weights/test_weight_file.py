"""Tests of streamed weights: transposed, joined and converted in blocks of any size."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from omnijet.export.graphfile.dtypes import IR_DTYPES as IR_OF
from omnijet.export.graphfile.weight_pages import PAGE
from omnijet.export.modules.base import (
    TORCH_DTYPES,
    Linear,
    Source,
    Sourced,
    load_source,
    weight_sources,
)
from omnijet.export.weights import weight_file
from omnijet.export.weights.weight_file import write_weights
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.errors import OmnijetError

IR_DTYPES = {torch_dtype: IR_OF[name] for name, torch_dtype in TORCH_DTYPES.items()}


class Rows:
    """A checkpoint in memory that records the largest number of rows read at once."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.largest = 0

    def tensor(self, key: str) -> Tensor:
        return self.tensors[key]

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        self.largest = max(self.largest, stop - start)
        return self.tensors[key][start:stop]


def graph_of(module: Sourced) -> ir.Model:
    """Returns a model whose initializers are the module's parameters without values."""
    values = []
    for name, parameter in module.named_parameters():
        dtype = IR_DTYPES[parameter.dtype]
        value = ir.Value(name=name, shape=ir.Shape(parameter.shape), type=ir.TensorType(dtype))
        value.const_value = ir.LazyTensor(
            lambda: pytest.fail("a weight was read"), dtype=dtype, shape=value.shape, name=name
        )
        values.append(value)
    return ir.Model(ir.Graph([], [], nodes=[], initializers=values), ir_version=10)


def written(module: Sourced, reader: Rows, folder: Path) -> dict[str, Tensor]:
    model = graph_of(module)
    written_bytes: list[int] = []
    write_weights(model, weight_sources(module), reader, folder, "w", written_bytes.append)
    assert (folder / "w").stat().st_size % PAGE == 0
    result = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None
        if isinstance(tensor, ir.ExternalTensor):
            assert tensor.offset is not None and tensor.offset % PAGE == 0
        dtype = module.get_parameter(name).dtype
        data = torch.frombuffer(bytearray(tensor.tobytes()), dtype=dtype)
        result[name] = data.reshape(tensor.shape.numpy())
    return result


def case(precision: Precision, dtype: torch.dtype) -> tuple[Linear, Rows]:
    """Returns query, key and value of different widths as one Linear, and their checkpoint."""
    widths = (48, 16, 24)
    module = Linear(["q", "k", "v"], 40, widths, bias=True, precision=precision)
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, width in zip("qkv", widths, strict=True):
        tensors[f"{name}.weight"] = torch.randn(width, 40, generator=generator).to(dtype)
        tensors[f"{name}.bias"] = torch.randn(width, generator=generator).to(dtype)
    return module, Rows(tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 7, 16, 1000])
def test_any_block_size_writes_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    dtype: torch.dtype,
    rows: int,
) -> None:
    module, reader = case(precision, dtype)
    monkeypatch.setattr(weight_file, "BLOCK_BYTES", 4 * 40 * rows)
    got = written(module, reader, tmp_path)
    for name, source in weight_sources(module).items():
        parameter = module.get_parameter(name)
        expected = load_source(source, reader).to(parameter.dtype)
        assert torch.equal(got[name], expected), name
    assert reader.largest <= rows


def test_a_single_projection_is_transposed_in_one_piece(tmp_path: Path) -> None:
    module = Linear("p", 30, 20, bias=False, precision="f32")
    weight = torch.randn(20, 30)
    got = written(module, Rows({"p.weight": weight}), tmp_path)
    assert torch.equal(got["weight"], weight.t())


def test_folded_values_are_computed(tmp_path: Path) -> None:
    module = Sourced()
    weight = torch.randn(400)
    module.add("scale", (400,), Source(("s",), ((400,),), fold=lambda parts: parts[0].exp()))
    got = written(module, Rows({"s": weight}), tmp_path)
    assert torch.equal(got["scale"], weight.exp())


def test_what_f16_cannot_hold_is_refused(tmp_path: Path) -> None:
    module = Linear("p", 30, 20, bias=False, precision="f16")
    weight = torch.randn(20, 30)
    weight[3, 4] = 70_000
    with pytest.raises(OmnijetError, match="does not fit f16") as caught:
        written(module, Rows({"p.weight": weight}), tmp_path)
    assert "weight" in str(caught.value) and "--dtype f32" in str(caught.value)


def test_bf16_goes_over_bit_for_bit_and_f32_is_rounded_to_even(tmp_path: Path) -> None:
    module = Linear("p", 256, 256, bias=False, precision="bf16")
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16).reshape(256, 256)  # NaN too
    got = written(module, Rows({"p.weight": bits.view(torch.bfloat16)}), tmp_path)
    assert torch.equal(got["weight"].view(torch.int16), bits.t())
    step = 2.0**-7  # the step of bf16 between 1 and 2
    between = torch.tensor([1 + step / 2, 1 + 3 * step / 2, 1 + 0.51 * step]).repeat(256, 86)
    got = written(module, Rows({"p.weight": between[:, :256]}), tmp_path)
    assert got["weight"][:3, 0].tolist() == [1, 1 + 2 * step, 1 + step]
