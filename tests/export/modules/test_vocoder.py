"""Compares the vocoder with transformers 4.57.6, in torch and in ONNX Runtime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as hf
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig

from omnijet.export.modules.base import weight_sources
from omnijet.export.modules.vocoder import KEY, Vocoder, normalise, resampling_filter
from omnijet.export.trace.tracer import trace
from omnijet.runtime.bundle.dims import VocoderDims
from tests.export.modules.parity import DictWeights, checkpoint, contract_of, load, published_dims

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "misc.json").read_text())

# Both differ by 1.5e-5 from their float64 results: sines of large arguments amplify rounding.
BOUND = 5e-5

DIMS = {
    "3b-like": VocoderDims(
        80, 64, (3, 7, 11), ((1, 3, 5),) * 3, (5, 3, 2, 2, 2, 2), (11, 7, 4, 4, 4, 4)
    ),
    "odd": VocoderDims(80, 24, (5, 9), ((1, 2, 3), (3, 4, 2)), (3, 2), (7, 4)),
}


def revive(module: torch.nn.Module) -> None:
    """Draws random weights with which the waveform is as loud as speech, in place."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith(("alpha", "beta")):
                value.copy_(0.4 * noise)
            elif name.endswith("bias"):
                value.copy_(0.05 * noise)
            elif "conv_post" in name:
                value.copy_(0.05 * noise / value[0].numel() ** 0.5)
            else:
                fan_in = value.shape[0] * 2 if ".ups." in f".{name}" else value[0].numel()
                value.copy_(noise / fan_in**0.5)


@pytest.fixture(scope="module", params=DIMS)
def case(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, DictWeights, VocoderDims]:
    dims = DIMS[request.param]
    config = Qwen2_5OmniBigVGANConfig(
        mel_dim=dims.mel,
        upsample_initial_channel=dims.channels,
        resblock_kernel_sizes=list(dims.resblock_kernels),
        resblock_dilation_sizes=[list(row) for row in dims.resblock_dilations],
        upsample_rates=list(dims.rates),
        upsample_kernel_sizes=list(dims.kernels),
    )
    reference = hf.Qwen2_5OmniToken2WavBigVGANModel(config).eval()
    revive(reference)
    return reference, checkpoint(reference, KEY), dims


def log_mel(frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    mel = -4 + 2.4 * torch.randn(1, 80, frames, generator=generator)
    mel[:, :3] = -16.0  # below the floor
    mel[:, 3] = 4.0  # beyond the ceiling
    return mel


def relative_rms(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("frames", [1, 3, 25, 96])
def test_the_wave_equals_the_reference(case, frames: int) -> None:
    reference, weights, dims = case
    module = load(Vocoder(dims), weights)
    mel = log_mel(frames)
    with torch.no_grad():
        expected = reference(mel).reshape(1, -1).numpy()
        (got,) = module(mel)
    assert got.shape == (1, dims.hop * frames) == expected.shape
    assert 0.001 < expected.std() < 0.5
    assert relative_rms(got.numpy(), expected) <= BOUND


def test_the_graph_computes_it_too_and_is_small(case) -> None:
    reference, weights, dims = case
    from dataclasses import replace

    published = published_dims()
    assert published.speech is not None
    whole = replace(published, speech=replace(published.speech, vocoder=dims))
    contract = contract_of("vocoder", whole, "f32")
    model = trace(Vocoder(dims), contract)
    module = load(Vocoder(dims), weights)
    for name in weight_sources(module):
        value = module.get_parameter(name).detach().numpy()
        model.graph.initializers[name].const_value = ir.tensor(value, name=name)
    counts = Counter(node.op_type for node in model.graph)
    activations = 2 * 3 * len(dims.resblock_kernels) * len(dims.rates) + 1
    assert counts["Sin"] == activations
    assert counts["ConvTranspose"] == len(dims.rates)
    assert sum(counts.values()) < 17 * activations + 10 * len(dims.rates) + 30
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for frames in (2, 31):
        mel = log_mel(frames)
        (got,) = session.run(None, {"mel": mel.numpy()})
        with torch.no_grad():
            expected = reference(mel).reshape(1, -1).numpy()
        assert relative_rms(got, expected) <= BOUND


def test_the_filter_is_golden() -> None:
    np.testing.assert_allclose(resampling_filter(), GOLDEN["kaiser_sinc_12tap"], rtol=2e-6)


def test_the_folded_normalisation_is_the_spelled_out_one() -> None:
    mel = torch.linspace(-30, 8, 2000)
    amplitude = mel.exp().clamp(10 ** (-115 / 20))
    decibels = 20 * torch.log10(amplitude) - 20
    expected = (2 * (decibels + 115) / 115 - 1).clamp(-1, 1)
    assert (normalise(mel) - expected).abs().max() < 1e-6
