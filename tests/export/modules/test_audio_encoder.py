"""Compares the graph `audio_encoder` with transformers; the host splits sounds into chunks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

from omnijet.export.modules.audio_encoder import KEY, AudioEncoder
from omnijet.export.modules.layers import LayerNorm
from omnijet.export.trace.tracer import trace
from omnijet.runtime.bundle.contract import Array, Precision
from omnijet.runtime.bundle.dims import AudioEncoderDims
from omnijet.runtime.model.audio_plan import plan_audio
from tests.export.modules.parity import (
    DictWeights,
    call,
    checkpoint,
    contract_of,
    load,
    open_in_onnxruntime,
    published_dims,
    relative_error,
    revive,
    unread,
)

SECONDS_03, SECONDS_2, SECONDS_73 = 30, 200, 730  # mel frames

DIMS = {
    "3b": AudioEncoderDims(
        n_mels=16, hidden=48, layers=3, heads=4, ffn=96, n_window=100, max_positions=150, out=40
    ),
    # an unusual number of mel bands, a short window, an odd MLP width
    "odd": AudioEncoderDims(
        n_mels=20, hidden=60, layers=2, heads=3, ffn=101, n_window=30, max_positions=64, out=33
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    dims: AudioEncoderDims
    reference: Qwen2_5OmniAudioEncoder
    weights: DictWeights

    def ours(self, precision: Precision, mels: list[Array]) -> Tensor:
        module = load(AudioEncoder(self.dims, precision), self.weights)
        (features,) = module(*self.feeds(mels))
        return features

    def feeds(self, mels: list[Array]) -> list[Tensor]:
        plan = plan_audio(self.dims, [mel.shape[1] for mel in mels])
        (arrays,) = plan.batches(mels)
        return [torch.from_numpy(array) for array in arrays.values()]

    def expected(self, mels: list[Array]) -> Tensor:
        lengths = torch.tensor([mel.shape[1] for mel in mels])
        after_conv, _ = self.reference._get_feat_extract_output_lengths(lengths)
        joined = torch.from_numpy(np.concatenate(mels, axis=1))
        features: Tensor = self.reference(
            joined, feature_lens=lengths, aftercnn_lens=after_conv
        ).last_hidden_state
        return features


def make_case(dims: AudioEncoderDims) -> Case:
    config = Qwen2_5OmniAudioEncoderConfig(
        num_mel_bins=dims.n_mels,
        d_model=dims.hidden,
        encoder_layers=dims.layers,
        encoder_attention_heads=dims.heads,
        encoder_ffn_dim=dims.ffn,
        n_window=dims.n_window,
        max_source_positions=dims.max_positions,
        output_dim=dims.out,
    )
    reference = Qwen2_5OmniAudioEncoder._from_config(config, attn_implementation="eager").eval()
    revive(reference, seed=3)
    return Case(dims, reference, checkpoint(reference, KEY))


@pytest.fixture(scope="module", params=DIMS)
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(DIMS[request.param])


def sounds(dims: AudioEncoderDims, *lengths: int) -> list[Array]:
    """Draws mel f32[n_mels, frames] in the range of a log-mel front end for each length."""
    rng = np.random.default_rng(11)
    return [rng.uniform(-1, 1.5, (dims.n_mels, length)).astype(np.float32) for length in lengths]


@pytest.mark.parametrize(
    "lengths",
    [
        (SECONDS_03,),
        (SECONDS_2,),
        (SECONDS_73,),
        (SECONDS_73, SECONDS_03, SECONDS_2),
        (
            3,
            201,
            199,
            402,
            61,
        ),  # remainders of one and two frames, and the shortest sound that gives a token
    ],
)
@torch.no_grad()
def test_f32_equals_the_reference(case: Case, lengths: tuple[int, ...]) -> None:
    mels = sounds(case.dims, *lengths)
    assert relative_error(case.ours("f32", mels), case.expected(mels)) <= 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("f16", 1e-2), ("bf16", 3e-2)])
@torch.no_grad()
def test_16_bits_stay_near_the_reference(
    case: Case, precision: Precision, tolerance: float
) -> None:
    mels = sounds(case.dims, SECONDS_73, SECONDS_03)
    assert relative_error(case.ours(precision, mels), case.expected(mels)) <= tolerance


def test_norms_have_the_epsilon_of_the_reference(case: Case) -> None:
    """The features cannot show the epsilon, which is tiny beside the position table."""
    ours = [m.eps for m in AudioEncoder(case.dims, "f32").modules() if isinstance(m, LayerNorm)]
    assert ours == [m.eps for m in case.reference.modules() if isinstance(m, nn.LayerNorm)]


def test_only_the_embedding_of_the_markers_is_left_unread(case: Case) -> None:
    module = AudioEncoder(case.dims, "f32")
    assert unread(module, case.weights) == {f"{KEY}.audio_bos_eos_token.weight"}


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("f16", 1e-2), ("bf16", 3e-2)])
@torch.no_grad()
def test_traced_it_equals_the_reference_at_any_size(precision: Precision, tolerance: float) -> None:
    case = make_case(DIMS["3b"])
    contract = contract_of("audio_encoder", replace(published_dims(), audio=case.dims), precision)
    model = trace(AudioEncoder(case.dims, precision), contract)
    ops = Counter(node.op_type for node in model.graph)
    assert ops["Attention"] == case.dims.layers
    session = open_in_onnxruntime(model, load(AudioEncoder(case.dims, precision), case.weights))
    for lengths in ((3,), (SECONDS_03,), (SECONDS_73, SECONDS_03, SECONDS_2)):
        mels = sounds(case.dims, *lengths)
        (features,) = call(session, case.feeds(mels))
        assert relative_error(features, case.expected(mels)) <= tolerance
