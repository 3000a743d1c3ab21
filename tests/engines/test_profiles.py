"""All sizes that the runtime binds lie in a profile; common sizes have profiles of their own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnijet.engines.profiles import COMMON, Profile, dit_sizes, profiles_for, vocoder_sizes
from omnijet.engines.recorder import Recorder
from omnijet.engines.targets.limits import windows_of
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.engines.targets.toolkits import Library
from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.backends.bindings import Bindings
from omnijet.runtime.bundle.contract import AXES, GraphContract, graph_contracts
from omnijet.runtime.model import audio_plan, vision_plan
from omnijet.runtime.model.decoder import PICKED_ROWS, PREFILL_ROWS, SMALLEST_BUCKET
from omnijet.runtime.model.encoders import MAX_CHUNKS, VisionEncoder
from omnijet.runtime.omni import Omni
from omnijet.runtime.speech.presets import PRESETS, SpeechPreset
from omnijet.runtime.speech.vocoder import VocoderStream

DIMS = read_dims(preset("3b"), None, "3b")
CONTRACTS = graph_contracts(DIMS, "f16")
BUILT = [target for target in TARGETS.values() if target.library != "onnxruntime"]


def profiles(graph: str, target: Target) -> tuple[Profile, ...]:
    grows = target.flavour == "decomposed"
    return profiles_for(CONTRACTS[graph], target.limits, target.library, DIMS.dit.block, grows)


def holds(profile: Profile, sizes: Mapping[str, int]) -> bool:
    return all(profile[symbol][0] <= size <= profile[symbol][2] for symbol, size in sizes.items())


@pytest.mark.parametrize("target", BUILT, ids=lambda target: target.name)
@pytest.mark.parametrize("graph", CONTRACTS)
def test_a_profile_is_sizes_in_order(graph: str, target: Target) -> None:
    contract = CONTRACTS[graph]
    for profile in profiles(graph, target):
        assert set(profile) == set(contract.symbols) <= set(AXES)
        for least, usual, most in profile.values():
            assert 1 <= least <= usual <= most
    last = profiles(graph, target)[-1]
    assert all(sizes[2] <= target.limits[symbol] for symbol, sizes in last.items())


@given(st.sampled_from(BUILT), st.sampled_from(["thinker_step", "talker_step"]), st.data())
def test_every_call_of_a_decoder(target: Target, graph: str, data: st.DataObject) -> None:
    most = min(PREFILL_ROWS, target.limits["rows"])
    rows = data.draw(st.integers(1, most))
    capacity = target.limits["capacity"]
    if target.flavour == "decomposed":  # caches grow
        capacity = data.draw(st.integers(SMALLEST_BUCKET, capacity))
    sizes = {"rows": rows, "capacity": capacity}
    if graph == "thinker_step":  # a prefill, or a step with drafts
        sizes["picked"] = data.draw(st.integers(1, min(rows, PICKED_ROWS)))
    made = profiles(graph, target)
    assert holds(made[-1], sizes)
    if target.library == "tensorrt":  # a step of one row has a profile, which is first
        assert [holds(one, sizes) for one in made] == [rows == 1, True]
    assert len({sizes for one in made for sizes in [one["capacity"]]}) == 1


@given(
    st.sampled_from(BUILT),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 9),
    st.sampled_from([1, 4]),
)
def test_every_call_of_a_clip(
    target: Target, rows: int, columns: int, frames: int, pictures: int
) -> None:
    """Yields pictures of two cells or more up to the limit, and as many frames as a call takes."""
    cells = target.limits["cells"]
    if not 1 < rows * columns <= cells:
        return
    plan = vision_plan.plan(DIMS.vision, rows * DIMS.vision.merge, columns * DIMS.vision.merge)
    limits = {**target.limits, "pictures": pictures, "windows": windows_of(cells, pictures)}
    contract = CONTRACTS["vision_encoder"]
    most = profiles_for(contract, limits, target.library, DIMS.dit.block)[-1]
    graph = SimpleNamespace(contract=contract, joins=True, limit=lambda symbol: most[symbol][2])
    each = VisionEncoder(cast(Any, graph), DIMS.vision).pictures(frames, plan)
    assert 1 <= each <= min(frames, pictures) and holds(most, plan.sizes(each))


@given(st.sampled_from(BUILT), st.lists(st.integers(3, 3000), min_size=1, max_size=4))
def test_every_call_for_sounds(target: Target, lengths: list[int]) -> None:
    plan = audio_plan.plan_audio(DIMS.audio, lengths)
    mels = [np.zeros((DIMS.audio.n_mels, length), np.float32) for length in lengths]
    for feeds in plan.batches(mels, min(target.limits["chunks"], MAX_CHUNKS)):
        sizes = {"chunks": len(feeds["mel"]), "tokens": len(feeds["pool_rows"])}
        assert holds(profiles("audio_encoder", target)[-1], sizes)


@pytest.mark.parametrize("target", BUILT, ids=lambda target: target.name)
@pytest.mark.parametrize("speech", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("codes", [1, 13, 60, 301])
def test_every_call_of_an_utterance(target: Target, speech: SpeechPreset, codes: int) -> None:
    """All windows of all presets fit, also a last one of any length."""
    frames, block = codes * DIMS.dit.repeats, DIMS.dit.block
    recorder = Recorder()
    vocoder = VocoderStream(Bindings(recorder), speech.context)
    begin = number = 0
    while window := speech.windows.window(number, begin, frames, block, last=True):
        blocks = -(-(window.stop - window.start) // block)
        for evaluation in speech.solver.evaluations:
            sizes = {"branches": evaluation.branches, "blocks": blocks}
            assert holds(profiles("dit_step", target)[-1], sizes), sizes
        ahead = np.zeros((1, window.stop - window.end), np.float32) if speech.guess else None
        ends = window.end == frames
        vocoder.push(np.zeros((1, window.end - window.begin), np.float32), ahead, ends)
        begin, number = window.end, number + 1
    assert begin == frames and recorder.frames
    for size in recorder.frames:
        assert holds(profiles("vocoder", target)[-1], {"frames": size}), size


def test_common_windows_are_those_that_return() -> None:
    """Sizes equal those of an endless utterance."""
    block = DIMS.dit.block
    assert vocoder_sizes(COMMON, block) == [32, 80, 136, 232]
    assert COMMON.name == inspect.signature(Omni.stream).parameters["preset"].default
    assert dit_sizes(COMMON) == [(2, 2), (2, 3), (2, 5), (2, 9)]
    assert {branches for branches, _ in dit_sizes(PRESETS["fast"])} == {1, 2}
    assert {blocks for _, blocks in dit_sizes(PRESETS["reference"])} == {4, 6}
    for speech in PRESETS.values():
        recorder = Recorder()
        vocoder = VocoderStream(Bindings(recorder), speech.context)
        begin = 0
        for number in range(200):
            window = speech.windows.window(number, begin, 10**9, block, last=False)
            assert window is not None
            ahead = np.zeros((1, window.stop - window.end), np.float32) if speech.guess else None
            vocoder.push(np.zeros((1, window.end - window.begin), np.float32), ahead)
            begin = window.end
        assert set(recorder.frames) == set(vocoder_sizes(speech, block))


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_no_more_rows_than_the_caches_hold(library: Library) -> None:
    limits = {**TARGETS["rtx-ada"].limits, "capacity": 100}
    for one in profiles_for(CONTRACTS["thinker_step"], limits, library, DIMS.dit.block):
        assert one["rows"][2] <= 100 and one["rows"][1] <= one["rows"][2]
        assert one["capacity"] == (100, 100, 100)


def test_limits_of_ones_own_drop_windows_beyond_them() -> None:
    target = TARGETS["orin-nano-jp72"]
    limits = {**target.limits, "blocks": 5, "capacity": 1000}
    contract: GraphContract = CONTRACTS["dit_step"]
    made = profiles_for(contract, limits, "tensorrt", DIMS.dit.block)
    assert [one["blocks"] for one in made] == [(2, 2, 2), (3, 3, 3), (5, 5, 5), (1, 5, 5)]
    step = profiles_for(CONTRACTS["talker_step"], limits, "tensorrt", DIMS.dit.block)
    assert {one["capacity"] for one in step} == {(1000, 1000, 1000)}
