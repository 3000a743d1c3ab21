"""Helpers of the parity tests: reference weights at a realistic scale, and one error measure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import Qwen2_5OmniConfig

from omnijet.engines.lowering.widened import widen
from omnijet.export.checkpoint.config import read_dims
from omnijet.export.modules.base import materialize, weight_sources
from omnijet.runtime.bundle.contract import GraphContract, Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims

ATTENTION_GAIN = 1.6
"""A gain that gives scores of a few units, so that attention selects keys instead of averaging.

Sharper attention amplifies rounding: at 2.5 the reference itself differs by 1.7e-5 from its
float64 result."""


@dataclass(frozen=True, slots=True)
class DictWeights:
    """A checkpoint held in memory."""

    tensors: Mapping[str, Tensor]

    def keys(self) -> Collection[str]:
        return self.tensors.keys()

    def tensor(self, key: str) -> Tensor:
        return self.tensors[key]


def revive(module: nn.Module, seed: int) -> None:
    """Draws random weights that keep activations near unit variance, in place.

    With the reference's own initialisation (0.02 everywhere, zero biases), attention and MLPs
    vanish beside the residual stream, and any graph would agree.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim > 1:
                gain = ATTENTION_GAIN if _is_query_or_key(name) else 1.0
                value.copy_(gain * noise / value[0].numel() ** 0.5)
            elif name.endswith(".weight"):
                value.copy_(1 + 0.3 * noise)
            else:
                value.copy_(0.3 * noise)


def _is_query_or_key(name: str) -> bool:
    return name.rpartition(".")[0].endswith((".q", ".k", ".q_proj", ".k_proj"))


def checkpoint(reference: nn.Module, prefix: str) -> DictWeights:
    """Returns the reference's tensors under their names in a published checkpoint."""
    return DictWeights({f"{prefix}.{key}": v for key, v in reference.state_dict().items()})


def load(module: nn.Module, weights: DictWeights) -> nn.Module:
    """Materializes a graph module after comparing each declared shape with the tensor's."""
    for source in weight_sources(module).values():
        found = tuple(tuple(weights.tensor(key).shape) for key in source.keys)
        assert found == source.shapes, (source.keys, found)
    return materialize(module, weights).eval()


def unread(module: nn.Module, weights: DictWeights) -> set[str]:
    """Returns the checkpoint's tensors that no parameter of the graph names."""
    named = {key for source in weight_sources(module).values() for key in source.keys}
    return set(weights.tensors) - named


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Returns the largest difference over the largest expected magnitude."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    assert expected.abs().max() > 0
    return ((got.float() - expected).abs().max() / expected.abs().max()).item()


def published_dims() -> ModelDims:
    """Returns full-size dimensions, in which a test replaces the part under test."""
    talker = {"rope_scaling": {"rope_type": "default", "mrope_section": [16, 24, 24]}}
    config = Qwen2_5OmniConfig(talker_config=talker).to_dict()
    return read_dims(config, None, "transformers' defaults")


def contract_of(name: str, dims: ModelDims, precision: Precision) -> GraphContract:
    return graph_contracts(dims, precision)[name]


def open_in_onnxruntime(model: ir.Model, weights: nn.Module) -> onnxruntime.InferenceSession:
    """Opens a traced graph with the parameters of a loaded module; bf16 is widened to f32."""
    for name, parameter in weights.named_parameters():
        model.graph.initializers[name].const_value = ir.tensor(parameter.data, name=name)
    widen(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # suppresses a warning per cache and step: the tests do not bind caches in place
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def call(session: onnxruntime.InferenceSession, feeds: Sequence[Tensor]) -> list[Tensor]:
    """Runs one call with inputs in the contract's order; bf16 inputs are widened to f32."""
    names = [value.name for value in session.get_inputs()]
    feeds = [feed.float() if feed.dtype == torch.bfloat16 else feed for feed in feeds]
    arrays = {name: feed.contiguous().numpy() for name, feed in zip(names, feeds, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, arrays)]
