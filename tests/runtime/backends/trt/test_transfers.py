"""Transfers between host and device, and the contents of the caches."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from omnijet.runtime.backends.device_call import in_device_call
from omnijet.runtime.backends.pool import Pool
from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.backends.trt.buffers import Block, Inputs, Outputs
from omnijet.runtime.backends.trt.caches import Caches
from omnijet.runtime.backends.trt.device import Device, Stream
from omnijet.runtime.backends.trt.graph import choose_profile
from omnijet.runtime.backends.trt.state import EngineState
from omnijet.runtime.backends.trt.work import PLAIN_RUNS
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import ContractError, OmnijetError
from omnijet.runtime.omni import Omni
from tests.runtime.backends.trt.engines import CAPACITY, PROFILES, Machine
from tests.runtime.backends.trt.gpu import Cuda, Gpu

SIZES = {"rows": 1, "picked": 1, "capacity": CAPACITY}


def graph_of(built: Path, name: str) -> Graph:
    return Omni.open(built, engines="orin-nx").model.graph(name)


def step(built: Path) -> tuple[Graph, EngineState]:
    graph = graph_of(built, "thinker_step")
    state = graph.new_state(5)
    assert isinstance(state, EngineState) and state.capacity == CAPACITY
    return graph, state


def test_a_decode_step_is_one_copy_each_way(built: Path, orin: Machine) -> None:
    graph, state = step(built)
    bound = graph.bind(SIZES, state)
    for number in range(PLAIN_RUNS + 3):
        orin.gpu.copies.clear()
        for name in bound.inputs:
            bound.inputs[name][...] = number == 3 and name != "head_rows"
        bound.run()
        assert bound.outputs["logits"].shape == (1, graph.contract.output("logits").axes[1])
        assert "hidden" in bound.outputs
    to, back = orin.gpu.copies
    assert to[0] == "host to device" and back == ("device to host", bound.outputs["logits"].nbytes)
    assert to[1] >= sum(bound.inputs[name].nbytes for name in bound.inputs)
    assert orin.gpu.calls["cudaGraphLaunch"] == 2


def test_what_was_not_taken_is_not_moved(built: Path, orin: Machine) -> None:
    graph = graph_of(built, "dit_step")
    bound = graph.bind({"branches": 2, "blocks": 3})
    bound.inputs["mask_self"][...] = True
    bound.run()
    velocity = bound.outputs["velocity"].copy()
    orin.gpu.copies.clear()
    bound.inputs["x"][...] = 1
    bound.run()
    assert [kind for kind, _ in orin.gpu.copies] == ["host to device", "device to host"]
    assert [size for _, size in orin.gpu.copies] == [
        bound.inputs["x"].nbytes, velocity.nbytes,
    ]  # fmt: skip
    assert not np.array_equal(bound.outputs["velocity"], velocity)
    orin.gpu.copies.clear()
    assert bound.outputs["past_next"].any() and len(orin.gpu.copies) == 1, "brought when asked for"
    assert bound.outputs["past_next"].any() and len(orin.gpu.copies) == 1, "and once"


def test_neighbours_are_moved_together() -> None:
    device = Device(Cuda(gpu := Gpu()))
    from omnijet.runtime.bundle.contract import TensorSpec

    specs = [TensorSpec(name, "f32", (count,)) for name, count in (("a", 3), ("b", 5), ("c", 2))]
    block = Block(device, specs, {})
    inputs, stream = Inputs(block, None), device.stream()
    assert {address % 256 for address in block.addresses.values()} == {0}
    for taken, expected in ((("a", "b", "c"), [512 + 8]), (("a", "c"), [12, 8]), (("b",), [20])):
        inputs.touched = 0
        for name in taken:
            inputs[name][...] = 1
        gpu.copies.clear()
        block.send(inputs.touched, stream)
        assert [size for _, size in gpu.copies] == expected
    outputs = Outputs(block, None, lambda chosen: None)
    assert "a" in outputs and "z" not in outputs and list(outputs) == ["a", "b", "c"]
    assert outputs.taken == 0


def test_outputs_outlive_their_graph(built: Path, orin: Machine) -> None:
    bound = graph_of(built, "vocoder").bind({"frames": 8})
    bound.run()
    kept = dict(bound.outputs)["wave"]
    before: Array = kept.copy()
    del bound
    assert np.isfinite(before).all() and np.array_equal(kept, before)


def allocated(gpu: Gpu) -> int:
    return gpu.calls.get("cudaMalloc", 0) + gpu.calls["cudaHostAlloc"]


def test_buffers_are_used_again_when_nobody_has_them(built: Path, orin: Machine) -> None:
    graph = graph_of(built, "vocoder")
    first = graph.bind({"frames": 8})
    first.inputs["mel"][...] = 1
    first.run()
    kept = first.outputs["wave"][0, 5:50]
    before, address = kept.copy(), first.inputs["mel"].ctypes.data
    del first
    second = graph.bind({"frames": 8})
    assert second.inputs["mel"].ctypes.data != address, "an array of the first is still there"
    second.inputs["mel"][...] = 2
    second.run()
    assert np.array_equal(kept, before)
    wanted = second.outputs["wave"].copy()
    del second, kept
    count = allocated(orin.gpu)
    for _ in range(3):
        again = graph.bind({"frames": 8})
        assert not again.inputs["mel"].any() and not again.outputs["wave"].any()
        again.inputs["mel"][...] = 2
        again.run()
        assert np.array_equal(again.outputs["wave"], wanted)
        del again
    assert allocated(orin.gpu) == count
    other = graph.bind({"frames": 9})
    assert other.inputs["mel"].shape == (1, 80, 9) and allocated(orin.gpu) > count


def test_caches_are_used_again_when_nobody_has_them(built: Path, orin: Machine) -> None:
    """Caches are zeroed, and the work that was captured on them is used again, too."""
    graph, state = step(built)
    bound = graph.bind(SIZES, state)
    for _ in range(PLAIN_RUNS + 2):
        bound.run()
    held = state.caches
    del state
    assert graph.new_state(5).caches is not held, "whoever bound them still has them"
    caches_of(held, orin.gpu)[...] = 3
    del bound
    count, launches = allocated(orin.gpu), orin.gpu.calls["cudaGraphLaunch"]
    again = graph.new_state(5)
    assert again.caches is held and not caches_of(held, orin.gpu).any()
    bound = graph.bind(SIZES, again)
    bound.run()
    assert orin.gpu.calls["cudaGraphLaunch"] == launches + 1
    assert allocated(orin.gpu) == count


def test_closing_frees_what_nobody_uses(built: Path, orin: Machine) -> None:
    """What is still bound is freed when its user lets go."""
    omni = Omni.open(built, engines="orin-nx")
    graph, vocoder = (omni.model.graph(name) for name in ("thinker_step", "vocoder"))
    state = graph.new_state(5)
    bound, sound = graph.bind(SIZES, state), vocoder.bind({"frames": 8})
    for _ in range(PLAIN_RUNS + 2):
        bound.run()
    sound.run()
    del sound
    gc.collect()
    held = orin.gpu.used
    engine = weakref.ref(bound._work._engine._engine)
    omni.close()
    omni.close()
    orin.library.contexts.clear()
    assert 0 < orin.gpu.used < held and engine() is None, "a captured run would keep it alive"
    for use in (
        bound.run,
        lambda: graph.new_state(5),
        lambda: vocoder.bind({"frames": 8}),
    ):
        with pytest.raises(OmnijetError, match="its backend was closed"):
            use()
    del bound, state
    assert (orin.gpu.used, orin.gpu.pinned) == (0, 0)


def test_every_wait_for_the_gpu_is_a_device_call(
    built: Path, orin: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread holds the engine's lock, and the garbage collector may run."""
    waits: list[bool] = []
    wait = Stream.wait

    def noted(self: Stream) -> None:
        waits.append(in_device_call())
        wait(self)

    monkeypatch.setattr(Stream, "wait", noted)
    graph, state = step(built)
    bound = graph.bind(SIZES, state)
    bound.run()
    assert bound.outputs["logits"].size and state.copy(3).capacity == CAPACITY
    assert len(waits) >= 5 and all(waits) and not in_device_call()


def test_a_pool() -> None:
    pool: Pool[str] = Pool(2)
    assert pool.take() is None
    for name, key in (("a", 1), ("b", 2), ("c", 1)):
        pool.give(name, key)
    assert [pool.take(1), pool.take(1), pool.take(2)] == ["c", None, "b"]
    varied: Pool[str] = Pool(2, size_per_key=1)
    for name, key in (("a", 1), ("b", 2), ("c", 2)):
        varied.give(name, key)
    assert [varied.take(2), varied.take(2), varied.take(1)] == ["c", None, "a"]
    pool.give("d")
    pool.close()
    pool.give("e")
    assert pool.take() is None


def caches(state: EngineState, gpu: Gpu) -> Array:
    return caches_of(state.caches, gpu)


def caches_of(found: Caches, gpu: Gpu) -> Array:
    buffer, place = found._buffers[found.side], found._places[0]
    view = gpu.view(buffer.address + place.offset, place.size, "device")
    return view.view(np.float32).reshape(place.shape)


def test_a_copied_state_holds_the_filled_rows_and_zeros(built: Path, orin: Machine) -> None:
    _, state = step(built)
    rows = caches(state, orin.gpu)
    assert not rows.any()
    rows[...] = np.random.default_rng(0).standard_normal(rows.shape)
    twin, empty = state.copy(7), state.copy(0)
    copied = caches(twin, orin.gpu)
    assert np.array_equal(copied[:, :, :7], rows[:, :, :7]) and not copied[:, :, 7:].any()
    assert not caches(empty, orin.gpu).any()


def test_caches_have_one_size(built: Path, orin: Machine) -> None:
    graph, state = step(built)
    state.grow(CAPACITY, 3)
    with pytest.raises(OmnijetError, match="cannot grow"):
        state.grow(CAPACITY + 1, 3)
    with pytest.raises(OmnijetError, match="built for other sizes"):
        graph.new_state(CAPACITY + 1)
    with pytest.raises(ContractError, match="needs its carried state"):
        graph.bind(SIZES)


def test_the_smallest_profile_that_fits() -> None:
    profiles = PROFILES["thinker_step"]
    assert choose_profile(profiles, SIZES) == 1
    assert choose_profile(profiles, {**SIZES, "rows": 2}) == 0
    assert choose_profile(profiles, {**SIZES, "rows": 5, "picked": 5}) == 0
    assert choose_profile(profiles, {**SIZES, "rows": 129}) is None


def test_what_a_run_costs_the_host(built: Path, orin: Machine) -> None:
    """The cost beside CUDA and the engine: tens of microseconds would be felt in every step."""
    graph, state = step(built)
    bound = graph.bind(SIZES, state)
    for _ in range(PLAIN_RUNS + 2):
        bound.run()
        bound.outputs["logits"]
    work = bound._work
    _, base = work._captured[0]
    work._captured[0] = (lambda: None, base)
    cuda = work._engine.stream._cuda
    for name in ("cudaMemcpyAsync", "cudaStreamSynchronize"):
        object.__setattr__(cuda, name, lambda *args: (0,))
    seconds = []
    for _ in range(300):
        began = perf_counter()
        bound.inputs["embeds"], bound.inputs["mask"], bound.inputs["write_index"]
        bound.run()
        bound.outputs["logits"]
        seconds.append(perf_counter() - began)
    assert min(seconds) < 50e-6, min(seconds)
