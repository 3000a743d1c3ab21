"""Compares the step graphs with transformers: prefill at once or in parts, decode, masked rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniTalkerConfig,
    Qwen2_5OmniTextConfig,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniTalkerForConditionalGeneration,
    Qwen2_5OmniThinkerTextModel,
)

from omnijet.export.modules import decoder
from omnijet.export.modules.base import TORCH_DTYPES
from omnijet.export.modules.decoder import TalkerStep, ThinkerStep
from omnijet.export.trace.tracer import trace
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import DecoderDims, ModelDims
from omnijet.runtime.model.rope import MRope
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

F16_MAX = 65504
PROMPT, DECODED = 23, 5
ROWS = PROMPT + DECODED
CAPACITY = 41
STEPS = {
    "whole prompt": [PROMPT] + [1] * DECODED,
    "prompt in two parts": [9, PROMPT - 9] + [1] * DECODED,
    "everything at once": [ROWS],
    "row by row": [1] * ROWS,
}


def dims_with(part: str, decoder: DecoderDims) -> ModelDims:
    """Returns the published dimensions with those of the Thinker or the Talker replaced."""
    dims = published_dims()
    if part == "thinker":
        return replace(dims, thinker=decoder)
    assert dims.speech is not None
    return replace(dims, speech=replace(dims.speech, talker=decoder))


def small(
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    ffn: int,
    embed_width: int,
    section: tuple[int, int, int],
    vocab: int,
    rms_eps: float = 1e-6,
) -> DecoderDims:
    return DecoderDims(
        hidden=hidden,
        layers=3,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=ffn,
        vocab=vocab,
        embed_width=embed_width,
        rope_theta=1e6,
        mrope_section=section,
        rms_eps=rms_eps,
        max_positions=32768,
    )


# Grouped queries have the published ratios; the 7B Talker's queries (192) are wider than its
# hidden size, and the 3B Talker's rotary bands have no width axis. An unusual epsilon shows
# whether the graph uses it.
DIMS = {
    "thinker 3b": small(128, 8, 1, 16, 200, 128, (2, 3, 3), 301),
    "thinker 7b": small(224, 14, 2, 16, 333, 224, (2, 3, 3), 331),
    "talker 3b": small(112, 14, 2, 8, 150, 128, (2, 2, 0), 257),
    "talker 7b": small(112, 12, 4, 16, 400, 224, (1, 4, 3), 257, rms_eps=1e-3),
}


class Thinker(nn.Module):
    """The reference's text model and head, named as in a checkpoint."""

    def __init__(self, dims: DecoderDims) -> None:
        super().__init__()
        config = Qwen2_5OmniTextConfig(
            **_shared_config(dims), layer_types=["full_attention"] * dims.layers
        )
        self.model = Qwen2_5OmniThinkerTextModel._from_config(config, attn_implementation="eager")
        self.lm_head = nn.Linear(dims.hidden, dims.vocab, bias=False)

    def forward(self, embeds: Tensor, positions: Tensor, cache: DynamicCache) -> list[Tensor]:
        hidden = self.model(
            inputs_embeds=embeds, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return [self.lm_head(hidden), hidden]


class Talker(nn.Module):
    def __init__(self, dims: DecoderDims) -> None:
        super().__init__()
        config = Qwen2_5OmniTalkerConfig(
            **_shared_config(dims), embedding_size=dims.embed_width, head_dim=dims.head_dim
        )
        self.talker = Qwen2_5OmniTalkerForConditionalGeneration._from_config(
            config, attn_implementation="eager"
        )

    def forward(self, embeds: Tensor, positions: Tensor, cache: DynamicCache) -> list[Tensor]:
        found = self.talker(
            inputs_embeds=embeds, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return [found.logits]


def _shared_config(dims: DecoderDims) -> dict[str, object]:
    return {
        "vocab_size": dims.vocab,
        "hidden_size": dims.hidden,
        "intermediate_size": dims.ffn,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "num_key_value_heads": dims.kv_heads,
        "rope_theta": dims.rope_theta,
        "rope_scaling": {"rope_type": "default", "mrope_section": list(dims.mrope_section)},
        "rms_norm_eps": dims.rms_eps,
        "max_position_embeddings": dims.max_positions,
    }


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    dims: DecoderDims
    reference: Thinker | Talker
    weights: DictWeights
    embeds: Tensor  # [1, ROWS, embed_width]
    positions: Tensor  # i64[3, 1, ROWS]

    def module(self, precision: Precision) -> nn.Module:
        graph = ThinkerStep if self.name.startswith("thinker") else TalkerStep
        return graph(self.dims, precision)

    @property
    def picks_rows(self) -> bool:
        """Whether the graph computes logits of the rows that are asked for: all, the last first."""
        return self.name.startswith("thinker")

    def logits(self, whole: Tensor, rows: slice) -> Tensor:
        """Returns what a call of these rows computes of the reference's logits of all rows."""
        return whole[0, rows].flip(0) if self.picks_rows else whole[:, rows.stop - 1]

    def expected(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns logits (and hidden states) of all rows, and caches: key 0, value 0, key 1..."""
        cache = DynamicCache()
        outputs = self.reference(self.embeds, self.positions, cache)
        caches = [t for layer in cache.layers for t in (layer.keys, layer.values)]
        return outputs, caches

    def run(self, precision: Precision, steps: Sequence[int]) -> Iterator[Step]:
        """Runs the graph module in torch."""
        return self.steps(load(self.module(precision), self.weights), precision, steps)

    def steps(
        self, graph: Callable[..., Sequence[Tensor]], precision: Precision, steps: Sequence[int]
    ) -> Iterator[Step]:
        """Feeds `steps` rows per call into caches that contain random values at first."""
        rope = MRope.of(self.dims)
        shape = (1, self.dims.kv_heads, CAPACITY, self.dims.head_dim)
        generator = torch.Generator().manual_seed(9)
        caches = [
            (20 * torch.randn(shape, generator=generator)).to(TORCH_DTYPES[precision])
            for _ in range(2 * self.dims.layers)
        ]
        start = 0
        for rows in steps:
            part = slice(start, start + rows)
            cos, sin = rope.tables(self.positions[:, :, part].numpy())
            mask = torch.arange(CAPACITY) <= torch.arange(start, start + rows)[:, None]
            outputs = graph(
                self.embeds[:, part],
                torch.from_numpy(cos),
                torch.from_numpy(sin),
                mask[None, None],
                torch.tensor([start]),
                *([torch.arange(rows).flip(0)] if self.picks_rows else []),
                *caches,
            )
            kept, updated = outputs[: -len(caches)], list(outputs[-len(caches) :])
            yield Step(part, kept, caches, updated)
            start, caches = part.stop, updated


@dataclass(frozen=True, slots=True)
class Step:
    rows: slice
    outputs: Sequence[Tensor]
    before: list[Tensor]
    after: list[Tensor]


def make_case(name: str) -> Case:
    dims = DIMS[name]
    thinker = name.startswith("thinker")
    reference = Thinker(dims).eval() if thinker else Talker(dims).eval()
    revive(reference, seed=5)
    generator = torch.Generator().manual_seed(6)
    embeds = torch.randn(1, ROWS, dims.embed_width, generator=generator)
    return Case(
        name,
        dims,
        reference,
        checkpoint(reference, "thinker") if thinker else checkpoint(reference.talker, "talker"),
        embeds,
        positions=torch.from_numpy(picture_between_text()),
    )


def picture_between_text() -> np.ndarray:
    """Returns positions i64[3, 1, ROWS] of 5 words, a picture of 3 x 4 cells and 11 words."""
    words = np.arange(5)
    rows, columns = np.indices((3, 4)).reshape(2, -1)
    after = np.arange(ROWS - 17) + 9
    axes = [
        np.concatenate([words, np.full(12, 5) + extra, after])
        for extra in (np.zeros(12, int), rows, columns)
    ]
    return np.stack(axes)[:, None].astype(np.int64) + 1234


@pytest.fixture(scope="module", params=DIMS)
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@torch.no_grad()
def test_f32_equals_the_reference(case: Case, steps: list[int]) -> None:
    outputs, caches = case.expected()
    for step in case.run("f32", steps):
        assert relative_error(step.outputs[0], case.logits(outputs[0], step.rows)) <= 1e-5
        for got, expected in zip(step.outputs[1:], outputs[1:], strict=True):
            assert relative_error(got, expected[:, step.rows]) <= 1e-5
    for got, expected in zip(step.after, caches, strict=True):
        assert relative_error(got[:, :, :ROWS], expected) <= 1e-5


@torch.no_grad()
def test_a_call_writes_its_own_rows_of_the_caches_only(case: Case) -> None:
    for step in case.run("f32", [9, PROMPT - 9, 1]):
        for before, after in zip(step.before, step.after, strict=True):
            changed = (before != after).any(dim=-1)[0]  # [kv_heads, capacity]
            inside = torch.zeros(CAPACITY, dtype=torch.bool)
            inside[step.rows] = True
            assert torch.equal(changed, inside.expand_as(changed))


@pytest.mark.parametrize(("precision", "tolerance"), [("f16", 2e-2), ("bf16", 5e-2)])
@torch.no_grad()
def test_16_bits_stay_near_the_reference(
    case: Case, precision: Precision, tolerance: float
) -> None:
    outputs, caches = case.expected()
    for step in case.run(precision, STEPS["prompt in two parts"]):
        assert all(output.dtype == torch.float32 for output in step.outputs)
        assert relative_error(step.outputs[0], case.logits(outputs[0], step.rows)) <= tolerance
    for got, expected in zip(step.after, caches, strict=True):
        assert got.dtype == TORCH_DTYPES[precision]
        assert relative_error(got[:, :, :ROWS], expected) <= tolerance


@pytest.mark.parametrize("name", ["thinker 3b", "talker 7b"])
@torch.no_grad()
def test_an_mlp_beyond_the_range_of_f16_is_guarded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(name)
    reference = case.reference
    model = reference.model if isinstance(reference, Thinker) else reference.talker.model
    mlp = model.layers[0].mlp
    mlp.gate_proj.weight[3] *= 300
    mlp.up_proj.weight[3] *= 300
    mlp.down_proj.weight[:, 3] /= 3000
    seen: list[float] = []
    hook = mlp.down_proj.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].abs().max().item())
    )
    outputs, _ = case.expected()
    hook.remove()
    assert F16_MAX < max(seen) < F16_MAX * 2**decoder.DOWN_SHIFT
    (step,) = case.run("f16", [ROWS])
    assert relative_error(step.outputs[0], case.logits(outputs[0], step.rows)) <= 2e-2
    monkeypatch.setattr(decoder, "DOWN_SHIFT", 0)
    (step,) = case.run("bf16", [ROWS])  # bf16 has the range without a shift
    assert relative_error(step.outputs[0], case.logits(outputs[0], step.rows)) <= 5e-2
    (step,) = case.run("f16", [ROWS])
    assert not all(tensor.isfinite().all() for tensor in (*step.outputs, *step.after))


def test_only_the_embedding_is_left_to_the_host(case: Case) -> None:
    root = case.name.split()[0]
    left = unread(case.module("f32"), case.weights)
    assert left == {f"{root}.model.embed_tokens.weight"}


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("f16", 2e-2), ("bf16", 5e-2)])
@pytest.mark.parametrize("name", ["thinker 7b", "talker 7b"])
@torch.no_grad()
def test_traced_it_equals_the_reference_in_prefill_and_decode(
    name: str, precision: Precision, tolerance: float
) -> None:
    case, part = make_case(name), name.split()[0]
    contract = contract_of(f"{part}_step", dims_with(part, case.dims), precision)
    model = trace(case.module(precision), contract)
    ops = Counter(node.op_type for node in model.graph)
    assert ops["Attention"] == case.dims.layers
    assert ops["RotaryEmbedding"] == ops["TensorScatter"] == 2 * case.dims.layers
    session = open_in_onnxruntime(model, load(case.module(precision), case.weights))
    outputs, caches = case.expected()
    steps = case.steps(lambda *feeds: call(session, feeds), precision, STEPS["whole prompt"])
    for step in steps:
        assert relative_error(step.outputs[0], case.logits(outputs[0], step.rows)) <= tolerance
    for got, expected in zip(step.after, caches, strict=True):
        assert relative_error(got[:, :, :ROWS], expected) <= tolerance


@pytest.mark.parametrize("name", ["thinker 7b", "talker 7b"])
@torch.no_grad()
def test_widened_it_is_what_torch_computes_in_bf16(name: str) -> None:
    """The two sum in different orders, so a number between two bf16 values may round to either.

    This is rare in the caches and affects part of every logit.
    """
    case, part = make_case(name), name.split()[0]
    contract = contract_of(f"{part}_step", dims_with(part, case.dims), "bf16")
    module = load(case.module("bf16"), case.weights)
    session = open_in_onnxruntime(trace(case.module("bf16"), contract), module)
    steps = STEPS["prompt in two parts"]
    in_torch = case.steps(module, "bf16", steps)
    in_onnxruntime = case.steps(lambda *feeds: call(session, feeds), "bf16", steps)
    for expected, got in zip(in_torch, in_onnxruntime, strict=True):
        for ours, theirs in zip(
            (*got.outputs, *got.after), (*expected.outputs, *expected.after), strict=True
        ):
            assert relative_error(ours, theirs.float()) <= 2e-2
