"""The DiT against transformers 4.57.6, and windows against the whole, on random weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as hf
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniDiTConfig

from omnijet.export.checkpoint.voices import Voice
from omnijet.export.modules.dit import KEY, DitStep
from omnijet.export.weights.speech_tables import speech_tables
from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.backends.protocol import Bound
from omnijet.runtime.bundle.contract import Array, GraphContract
from omnijet.runtime.speech import dit
from omnijet.runtime.speech.dit import Past, Stretch
from omnijet.runtime.speech.solver import EXACT, Solver
from omnijet.runtime.speech.windows import Windows
from tests.export.modules.parity import (
    DictWeights,
    checkpoint,
    contract_of,
    load,
    published_dims,
    revive,
)

CONFIGS: dict[str, dict[str, Any]] = {
    "3b-like": {
        "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4, "head_dim": 16,
        "emb_dim": 24, "look_ahead_layers": [2], "look_backward_layers": [0, 3],
    },
    "odd": {
        "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "head_dim": 8,
        "emb_dim": 16, "ff_mult": 3, "block_size": 10, "look_ahead_layers": [1, 3],
        "look_backward_layers": [2], "mel_dim": 80, "enc_dim": 20, "enc_emb_dim": 36,
        "enc_channels": [32, 32, 32, 32, 96], "enc_se_channels": 8, "enc_attention_channels": 12,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A reference DiT, our tables and our graph module over the same weights."""

    reference: hf.Qwen2_5OmniToken2WavDiTModel
    weights: DictWeights
    tables: dit.DitTables
    voice: Voice
    voice_table: Array
    graph: TorchGraph


class TorchGraph:
    """The graph protocol over a torch module."""

    def __init__(self, module: torch.nn.Module, contract: GraphContract) -> None:
        self.module, self.contract = module, contract

    def bind(self, sizes: Mapping[str, int], state: None = None, kept: bool = False) -> TorchBound:
        return TorchBound(self.module, self.contract, sizes)


class TorchBound:
    def __init__(
        self, module: torch.nn.Module, contract: GraphContract, sizes: Mapping[str, int]
    ) -> None:
        self.module, self.contract = module, contract
        kinds = {"f32": np.float32, "bool": bool, "i64": np.int64}
        self.inputs = {s.name: np.zeros(s.shape(sizes), kinds[s.dtype]) for s in contract.inputs}
        self.outputs: dict[str, Array] = {}

    def run(self) -> None:
        with torch.no_grad():
            feeds = (torch.from_numpy(value) for value in self.inputs.values())
            for spec, value in zip(self.contract.outputs, self.module(*feeds), strict=True):
                self.outputs[spec.name] = value.numpy()


@pytest.fixture(scope="module", params=CONFIGS)
def case(request: pytest.FixtureRequest) -> Case:
    config = Qwen2_5OmniDiTConfig(**CONFIGS[request.param])
    config._attn_implementation = "sdpa"
    reference = hf.Qwen2_5OmniToken2WavDiTModel(config).eval()
    revive(reference, seed=5)
    # a trained checkpoint stores bfloat16-rounded frequencies
    rotary = reference.rotary_embed
    rotary.inv_freq.copy_(rotary.inv_freq.bfloat16().float())
    weights = checkpoint(reference, KEY)
    dims = published_dims()
    c = config
    assert dims.speech is not None
    speech = replace(
        dims.speech,
        dit=replace(
            dims.dit, hidden=c.hidden_size, layers=c.num_hidden_layers, heads=c.num_attention_heads,
            head_dim=c.head_dim, ff_mult=c.ff_mult, codec_embed=c.emb_dim, block=c.block_size,
            look_ahead_layers=tuple(c.look_ahead_layers),
            look_back_layers=tuple(c.look_backward_layers),
            speaker_cond=c.enc_emb_dim, speaker_embed=c.enc_dim,
        ),
        ecapa=replace(
            dims.ecapa, channels=tuple(c.enc_channels), se_channels=c.enc_se_channels,
            attention_channels=c.enc_attention_channels, out=c.enc_dim,
        ),
    )  # fmt: skip
    dims = replace(dims, speech=speech)
    generator = torch.Generator().manual_seed(2)
    voice = Voice(
        "Test", 1, torch.randn(1, c.enc_emb_dim, generator=generator),
        torch.randn(1, 400, 80, generator=generator) * 2 - 4,
    )  # fmt: skip
    with torch.no_grad():
        arrays = speech_tables(dims, weights, {"Test": voice})
    tables = dit.DitTables.load(arrays.__getitem__, dims.dit)
    module = load(DitStep(dims.dit), weights)
    graph = TorchGraph(module, contract_of("dit_step", dims, "f32"))
    return Case(reference, weights, tables, voice, arrays["voice_Test"], graph)


def codes_of(count: int) -> Array:
    return np.random.default_rng(count).integers(0, 8192, count)


def reference_velocity(case: Case, codes: Array, time: float, state: Array) -> Array:
    with torch.no_grad():
        both = case.reference(
            hidden_states=torch.from_numpy(state)[None],
            quantized_code=torch.from_numpy(codes)[None],
            speaker_embedding=case.voice.cond.unsqueeze(1).repeat(1, len(state), 1),
            condition_vector=case.voice.ref_mel,
            time_step=torch.tensor(time),
            apply_cfg=True,
        )
    return both.numpy()


def evaluate(bound: Bound, tables: dit.DitTables, time: np.float32, state: Array) -> Array:
    """Returns the guided velocity f32[frames, 80] at one of the tables' times."""
    branches = dit.run_branches(bound, tables, time, state)
    guided: Array = branches[dit.CONDITIONED] + dit.guidance(branches)
    return guided


@pytest.mark.parametrize("count", [1, 5, 12, 31, 60])
def test_one_evaluation_equals_the_reference(case: Case, count: int) -> None:
    frames = 2 * count
    codes = codes_of(count)
    state = np.random.default_rng(1).standard_normal((frames, 80)).astype(np.float32)
    blocks = -(-frames // case.tables.dims.block)
    bound = case.graph.bind({"branches": 2, "blocks": blocks})
    dit.write_static(bound, case.tables, codes, case.voice_table, frames)
    for point in (0, 7, 27):
        time = case.tables.times[point]
        guided = evaluate(bound, case.tables, time, state)
        expected = reference_velocity(case, codes, float(time), state)
        scale = np.abs(expected).max()
        assert scale > 0.5  # alive
        assert np.abs(expected[0] - expected[1]).max() > 0.05 * scale  # guidance matters
        ours = bound.outputs["velocity"][:, :frames]
        assert np.abs(ours - expected).max() / scale <= 1e-5
        mixed = 1.5 * expected[0] - 0.5 * expected[1]
        assert np.abs(guided - mixed).max() / np.abs(mixed).max() <= 1e-5


@pytest.mark.parametrize("count", [3, 25])
def test_the_whole_solution_equals_the_reference(
    case: Case, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = codes_of(count)
    noise = np.random.default_rng(9).standard_normal((2 * count, 80), dtype=np.float32)
    whole = torch.zeros(1, 30000, 80)
    whole[0, : 2 * count] = torch.from_numpy(noise)
    monkeypatch.setattr(hf.torch, "randn", lambda *args, **kwargs: whole)
    with torch.no_grad():
        expected = case.reference.sample(
            case.voice.cond, case.voice.ref_mel, torch.from_numpy(codes)[None]
        ).numpy()
    done = []
    got = dit.synthesize(
        case.graph, case.tables, codes, case.voice_table, noise, lambda n, total: done.append(n)
    )
    assert done == list(range(1, 37))
    assert got.shape == expected.shape == (1, 80, 2 * count)
    assert expected.std() > 0.3
    error = np.sqrt(np.mean((got - expected) ** 2)) / np.sqrt(np.mean(expected**2))
    assert error <= 1e-4


def test_receptive_field_is_that_of_the_masks(case: Case) -> None:
    """Changing one block moves exactly the blocks that may see it, through all layers."""
    dims = case.tables.dims
    blocks, block = 7, dims.block
    codes = codes_of(blocks * block // 2)
    frames = 2 * len(codes)
    state = np.random.default_rng(4).standard_normal((frames, 80)).astype(np.float32)
    bound = case.graph.bind({"branches": 2, "blocks": blocks})
    dit.write_static(bound, case.tables, codes, case.voice_table, frames)
    before = evaluate(bound, case.tables, case.tables.times[9], state)
    state[3 * block : 4 * block] += 1
    after = evaluate(bound, case.tables, case.tables.times[9], state)
    moved = np.abs(after - before).reshape(blocks, -1).max(axis=1) > 0
    back, ahead = len(dims.look_back_layers), len(dims.look_ahead_layers)
    assert list(np.flatnonzero(moved)) == list(range(3 - ahead, 3 + back + 1))


def test_dit_tables_use_the_frequencies_given() -> None:
    rotary = hf.Qwen2_5OmniDiTRotaryEmbedding(64)
    rotary.inv_freq.copy_(rotary.inv_freq.bfloat16().float())  # as checkpoints hold them
    expected_cos, expected_sin = (table.numpy() for table in rotary(torch.empty(1, 311, 64)))
    cos, sin = dit.rotary_tables(rotary.inv_freq.numpy(), 311)
    assert cos.shape == sin.shape == (1, 311, 32)
    assert cos.dtype == sin.dtype == np.float32
    np.testing.assert_allclose(np.repeat(cos, 2, axis=-1), expected_cos, atol=1e-6)
    np.testing.assert_allclose(np.repeat(sin, 2, axis=-1), expected_sin, atol=1e-6)


def test_frequencies_come_from_the_checkpoint(case: Case) -> None:
    stored = case.weights.tensors[f"{KEY}.rotary_embed.inv_freq"].numpy()
    np.testing.assert_array_equal(case.tables.inv_freq, stored)
    width = 2 * len(stored)
    formula = 1 / 10000 ** (np.arange(0, width, 2) / width)
    assert np.abs(stored / formula - 1).max() > 1e-4  # they really differ


def test_codes_beyond_the_table_are_read_as_zero(case: Case) -> None:
    odd = case.tables.static(np.array([5, 8300, 7]), case.voice_table)
    plain = case.tables.static(np.array([5, 0, 7]), case.voice_table)
    np.testing.assert_array_equal(odd, plain)


WINDOWS = Windows("small", chunks=(1, 2), ahead=1)


def in_windows(
    case: Case, codes: Array, noise: Array, scheme: Windows, solver: Solver = EXACT
) -> Array:
    """Solves window after window with committed state: f32[frames, 80]."""
    dims = case.tables.dims
    frames, begin, past, mel = codes.size * dims.repeats, 0, Past(), []
    for number in itertools.count():
        window = scheme.window(number, begin, frames, dims.block, last=True)
        if window is None:
            return np.concatenate(mel)
        past.commit = (window.end - window.start - 1) // dims.block
        stretch = Stretch(
            window.start,
            codes[window.start // dims.repeats : window.stop // dims.repeats],
            noise[window.start : window.stop],
        )
        bind = Bindings(case.graph).of
        solved = dit.solve(bind, case.tables, case.voice_table, stretch, solver, past)
        mel.append(solved[: window.end - window.start])
        begin = window.end
    raise AssertionError


def speech_of(case: Case, blocks: float) -> tuple[Array, Array]:
    """Returns codes and noise of an utterance of `blocks` blocks."""
    codes = codes_of(int(blocks * case.tables.dims.block / 2))
    noise = np.random.default_rng(6).standard_normal((2 * codes.size, 80), np.float32)
    return codes, noise


@pytest.mark.parametrize("blocks", [0.5, 1, 2.4])
def test_one_window_is_the_whole_bit_for_bit(case: Case, blocks: float) -> None:
    codes, noise = speech_of(case, blocks)
    whole = dit.synthesize(case.graph, case.tables, codes, case.voice_table, noise)[0].T
    one = in_windows(case, codes, noise, Windows("one", chunks=(9,), ahead=1))
    np.testing.assert_array_equal(one, whole)


def blind(case: Case) -> Case:
    """Returns the same weights in a model whose layers never look ahead."""
    dims = replace(case.tables.dims, look_ahead_layers=())
    module = load(DitStep(dims), case.weights)
    graph = TorchGraph(module, case.graph.contract)
    return replace(case, tables=replace(case.tables, dims=dims), graph=graph)


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_past_is_exact(case: Case, ahead: int) -> None:
    """Windows with committed state change nothing if no layer looks ahead."""
    case = blind(case)
    codes, noise = speech_of(case, 6.4)
    whole = dit.synthesize(case.graph, case.tables, codes, case.voice_table, noise)[0].T
    windows = in_windows(case, codes, noise, replace(WINDOWS, ahead=ahead))
    assert np.abs(windows - whole).max() <= 1e-5 * np.abs(whole).max()
    # and it is the state that does it
    forgetful = [
        dit.solve(
            Bindings(case.graph).of, case.tables, case.voice_table,
            Stretch(0, codes[part], noise[2 * part.start : 2 * part.stop]), EXACT,
        )
        for part in (slice(0, case.tables.dims.block), slice(case.tables.dims.block, codes.size))
    ]  # fmt: skip
    assert np.abs(np.concatenate(forgetful) - whole).max() > 1e-3 * np.abs(whole).max()


def test_what_is_left_is_the_approximate_future(case: Case) -> None:
    """Each further block of look-ahead brings windows closer to the whole."""
    codes, noise = speech_of(case, 8.4)
    whole = dit.synthesize(case.graph, case.tables, codes, case.voice_table, noise)[0].T
    errors = [
        np.sqrt(np.mean((in_windows(case, codes, noise, replace(WINDOWS, ahead=n)) - whole) ** 2))
        for n in (0, 1, 2, 3)
    ]
    assert errors[0] > 1e-3 * whole.std()
    assert all(later < earlier / 2 for earlier, later in itertools.pairwise(errors)), errors


def test_an_evaluation_without_guidance_runs_one_branch(case: Case) -> None:
    codes, noise = speech_of(case, 1.5)
    solver = Solver("half", "adams2", guidance=(0.0, 0.3))
    branches: list[int] = []

    class Counting(Bindings):
        def of(self, **sizes: int) -> Any:
            branches.append(sizes["branches"])
            return super().of(**sizes)

    stretch = Stretch(0, codes, noise)
    mel = dit.solve(Counting(case.graph).of, case.tables, case.voice_table, stretch, solver, Past())
    assert sorted(branches) == [1, 2]
    alone = case.graph.bind({"branches": 1, "blocks": 2})
    both = case.graph.bind({"branches": 2, "blocks": 2})
    for bound in (alone, both):
        dit.write_static(bound, case.tables, codes, case.voice_table, len(noise))
        dit.run_branches(bound, case.tables, case.tables.times[5], noise)
    np.testing.assert_allclose(
        alone.outputs["velocity"][0], both.outputs["velocity"][0], rtol=1e-4, atol=1e-5
    )
    assert np.isfinite(mel).all()


def test_held_guidance_is_the_difference_found_last(case: Case) -> None:
    """Euler by hand: where one branch runs, the last difference of branches is reused."""
    codes, noise = speech_of(case, 1.5)
    solver = Solver("held", "euler", every=2)
    bound = case.graph.bind({"branches": 2, "blocks": 2})
    dit.write_static(bound, case.tables, codes, case.voice_table, len(noise))
    state, times = noise, solver.times
    for step in range(9):
        branches = dit.run_branches(bound, case.tables, times[step], state)
        if step % 2 == 0:
            guide = dit.guidance(branches)
        state = state + (times[step + 1] - times[step]) * (branches[0] + guide)
    stretch = Stretch(0, codes, noise)
    mel = dit.solve(Bindings(case.graph).of, case.tables, case.voice_table, stretch, solver)
    assert np.abs(mel - state).max() <= 1e-4 * np.abs(state).max()
    full = replace(solver, every=1)
    other = dit.solve(Bindings(case.graph).of, case.tables, case.voice_table, stretch, full)
    assert np.abs(other - state).max() > 1e-3 * np.abs(state).max()


@pytest.mark.parametrize(
    "solver",
    [Solver("half", "adams3", guidance=(0.0, 0.3)), Solver("held", "dpm2", every=2)],
    ids=lambda solver: solver.name,
)
def test_windows_of_a_cheap_solver_carry_its_state_too(case: Case, solver: Solver) -> None:
    case = blind(case)
    codes, noise = speech_of(case, 4.4)
    stretch = Stretch(0, codes, noise)
    bind = Bindings(case.graph).of
    whole = dit.solve(bind, case.tables, case.voice_table, stretch, solver)
    windows = in_windows(case, codes, noise, WINDOWS, solver)
    assert np.abs(windows - whole).max() <= 1e-5 * np.abs(whole).max()


def test_noise_of_a_frame_does_not_depend_on_the_length() -> None:
    whole = np.random.default_rng(9).standard_normal((50, 80), np.float32)
    rng = np.random.default_rng(9)
    parts = [rng.standard_normal((frames, 80), np.float32) for frames in (7, 1, 42)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
