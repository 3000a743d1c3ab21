"""ONNX Runtime with buffers on a device; here the CPU takes its place, with copies of its
own.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from omnijet.runtime.backends.ort_gpu import backend as backend_module
from omnijet.runtime.backends.ort_gpu import caches as caches_module
from omnijet.runtime.backends.ort_gpu import work as work_module
from omnijet.runtime.backends.ort_gpu.backend import OrtDeviceBackend
from omnijet.runtime.backends.ort_gpu.graph import MOST_SESSIONS
from omnijet.runtime.backends.ort_gpu.providers import ONE_LENGTH, PROVIDERS, Provider
from omnijet.runtime.backends.ort_gpu.session import DeviceSession
from omnijet.runtime.backends.ort_gpu.state import DeviceState
from omnijet.runtime.backends.ort_gpu.transfers import on_device
from omnijet.runtime.backends.ort_session import GRAPH_ID, NOT_CAPTURED, OrtBinding
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import EngineEntry
from omnijet.runtime.commands.opening import hint
from omnijet.runtime.errors import ContractError, OmnijetError
from omnijet.runtime.machine.root import VARIABLE
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply
from tests.command import Capture, refused
from tests.machines import fake_machine
from tests.threads import new_threads

QUESTION = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """A thread that one test leaves behind would be found by another."""
    yield
    assert not new_threads()


@pytest.fixture
def device(nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Omni]:
    """Puts the CPU in the place of a device."""
    here = {**PROVIDERS, "cuda": Provider("CPUExecutionProvider", "the CPU")}
    monkeypatch.setattr(backend_module, "PROVIDERS", here)
    with Omni.open(nano[1], backend=OrtDeviceBackend("cuda", 1, device="cpu")) as omni:
        yield omni


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_reply_is_that_of_shared_buffers(device: Omni, omni: Omni) -> None:
    options: dict[str, Any] = {"seed": 3, "max_text_tokens": 6, "max_codes": 12}
    ours, theirs = (one.generate(QUESTION, **options) for one in (device, omni))
    assert (ours.text_ids, ours.codes) == (theirs.text_ids, theirs.codes)
    assert np.array_equal(ours.audio, theirs.audio) and ours.audio.std() > 1e-3


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_what_was_not_taken_is_not_moved(device: Omni) -> None:
    bound = device.model.graph("vocoder").bind({"frames": 6})
    kept = bound.inputs["mel"]
    kept[...] = 1
    bound.run()
    first = bound.outputs["wave"].copy()
    kept[...] = -3  # not taken anew: the device does not see it
    bound.run()
    assert np.array_equal(bound.outputs["wave"], first)
    assert bound.outputs["wave"] is bound.outputs["wave"] and "wave" in bound.outputs
    bound.inputs["mel"][...] = -3
    bound.run()
    assert not np.array_equal(bound.outputs["wave"], first)


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_caches_grow_and_are_copied(device: Omni) -> None:
    graph = device.model.graph("talker_step")
    state = graph.new_state(16)
    assert isinstance(state, DeviceState)
    bound = graph.bind({"rows": 3, "capacity": 16}, state)
    bound.inputs["embeds"][...] = np.random.default_rng(0).standard_normal(
        bound.inputs["embeds"].shape
    )
    bound.inputs["cos"][...] = 1
    bound.inputs["mask"][0, 0, :, :3] = np.tri(3, dtype=bool)
    bound.run()
    keys = state.values["key_cache_0"].numpy()
    assert keys[:, :, :3].all() and not keys[:, :, 3:].any()
    twin = state.copy(2)
    assert np.array_equal(twin.values["key_cache_0"].numpy()[:, :, :2], keys[:, :, :2])
    assert not twin.values["key_cache_0"].numpy()[:, :, 2:].any()
    state.grow(64, 3)
    grown = state.values["key_cache_0"].numpy()
    assert grown.shape[2] == 64 and np.array_equal(grown[:, :, :3], keys[:, :, :3])
    with pytest.raises(ContractError, match="carried state"):
        graph.bind({"rows": 3, "capacity": 16}, state)


@dataclass
class Seen:
    """A record of what was made, and of the runs that were captured or replayed."""

    values: int = 0
    sessions: list[str] = field(default_factory=list)
    captured: list[str] = field(default_factory=list)


@pytest.fixture
def replaying(
    nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Omni, Seen]]:
    """Puts the CPU in the place of a device that captures runs."""
    capturing = {"enable_cuda_graph": "1"}
    provider = Provider(
        "CPUExecutionProvider", "the CPU", capturing=capturing, one_length=ONE_LENGTH
    )
    monkeypatch.setattr(backend_module, "PROVIDERS", {**PROVIDERS, "cuda": provider})
    seen = Seen()
    load, run = OrtDeviceBackend.session, DeviceSession.run

    def session(self: Any, path: Path, name: str, **options: Any) -> Any:
        seen.sessions.append(name)
        return load(self, path, name, **options)

    def counted(self: DeviceSession, binding: OrtBinding, capture: Any = None) -> None:
        if capture is not None:
            seen.captured.append(f"{self._name} {capture.get_run_config_entry(GRAPH_ID)}")
        run(self, binding, capture)

    def made(device: str, array: Array) -> Any:
        seen.values += 1
        return on_device(device, array)

    monkeypatch.setattr(OrtDeviceBackend, "session", session)
    monkeypatch.setattr(DeviceSession, "run", counted)
    monkeypatch.setattr(caches_module, "on_device", made)
    monkeypatch.setattr(work_module, "on_device", made)
    with Omni.open(nano[1], backend=OrtDeviceBackend("cuda", 1, device="cpu")) as omni:
        yield omni, seen


OPTIONS: dict[str, Any] = {"seed": 3, "max_text_tokens": 8, "max_codes": 90}


def streamed(omni: Omni) -> Reply:
    with omni.stream(QUESTION, **OPTIONS) as events:
        list(events)
        return events.reply


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_second_reply_makes_nothing_anew(replaying: tuple[Omni, Seen], omni: Omni) -> None:
    """Decode steps and windows of the DiT are replayed with the buffers that were captured; the
    vocoder has a session for every length that returns.
    """
    ours, seen = replaying
    first = streamed(ours)
    assert {one.split()[0] for one in seen.captured} == {"thinker_step", "talker_step", "dit_step"}
    assert 2 < seen.sessions.count("vocoder") <= 1 + MOST_SESSIONS
    assert seen.sessions.count("dit_step") == 1
    ids, sessions = set(seen.captured), list(seen.sessions)
    values = seen.values
    second = streamed(ours)
    assert set(seen.captured) == ids and seen.sessions == sessions
    alone = 11 * 2 + 2  # the last window of each utterance, and what the vocoder makes of it
    assert seen.values - values < alone
    right = streamed(omni)
    for one in (first, second):
        assert (one.text_ids, one.codes) == (right.text_ids, right.codes)
        assert np.array_equal(one.audio, right.audio) and one.audio.std() > 1e-3


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_nothing_reaches_the_device_while_a_run_is_captured(
    replaying: tuple[Omni, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither worker of a stream reaches it: CUDA would refuse the call and spoil the capture."""
    known: set[str] = set()
    capturing: list[str] = []
    entered: list[str] = []
    run = onnxruntime.InferenceSession.run_with_iobinding

    def captured(self: Any, binding: Any, options: Any = None) -> None:
        number = NOT_CAPTURED if options is None else options.get_run_config_entry(GRAPH_ID)
        # of each thread, as ONNX Runtime has it
        name = f"{id(self)} {number} {threading.get_ident()}"
        if number == NOT_CAPTURED or name in known:
            refused()
            return run(self, binding, options)
        known.add(name)
        capturing.append(name)
        time.sleep(0.02)  # it takes its time
        run(self, binding, options)
        capturing.remove(name)

    def refused() -> None:
        entered.extend(capturing)

    def guarded(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            refused()
            return real(*args, **options)

        monkeypatch.setattr(owner, name, call)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", captured)
    for name in ("numpy", "update_inplace", "ortvalue_from_shape_and_type"):
        guarded(onnxruntime.OrtValue, name)
    for _ in range(3):
        streamed(replaying[0])
    assert len({name.rpartition(" ")[0] for name in known}) == len(known) >= 4
    assert not entered, entered


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_caches_in_use_are_nobody_elses(replaying: tuple[Omni, Seen]) -> None:
    graph = replaying[0].model.graph("talker_step")
    first = graph.new_state(16)
    assert isinstance(first, DeviceState)
    bound = graph.bind({"rows": 1, "capacity": 16}, first)
    bound.run()
    caches, work = first.lease.caches, bound._work  # type: ignore[attr-defined]
    second = graph.new_state(16)
    assert isinstance(second, DeviceState) and second.lease.caches is not caches
    first.grow(32, 1)
    third = graph.new_state(16)
    assert isinstance(third, DeviceState)
    assert third.lease.caches is not caches, "what is bound to them may run still"
    del bound
    fourth = graph.new_state(16)
    assert isinstance(fourth, DeviceState) and fourth.lease.caches is caches
    assert not any(value.numpy().any() for value in fourth.values.values())
    bound = graph.bind({"rows": 1, "capacity": 16}, fourth)
    assert bound._work is work  # type: ignore[attr-defined]
    assert not any(bound.inputs[name].any() for name in bound.inputs)


@pytest.mark.filterwarnings("ignore:Duplicate provider")
@pytest.mark.parametrize("where", ["load", "run"])
def test_what_cannot_be_captured_runs_all_the_same(
    replaying: tuple[Omni, Seen], omni: Omni, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A part of a graph may have no kernel on the device, or one that cannot be captured."""
    ours, seen = replaying
    if where == "load":
        load = OrtDeviceBackend.session

        def session(self: Any, path: Path, name: str, **options: Any) -> Any:
            if "enable_cuda_graph" in options["providers"][0][1]:
                raise OmnijetError("no", got="not all nodes are on the device")
            return load(self, path, name, **options)

        monkeypatch.setattr(OrtDeviceBackend, "session", session)
    else:
        real = onnxruntime.InferenceSession.run_with_iobinding

        def run(self: Any, binding: Any, options: Any = None) -> None:
            if options is not None and options.get_run_config_entry(GRAPH_ID) != NOT_CAPTURED:
                raise RuntimeError("an operation is not permitted when a stream is capturing")
            real(self, binding, options)

        monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", run)
    reply, right = streamed(ours), streamed(omni)
    assert (reply.text_ids, reply.codes) == (right.text_ids, right.codes)
    assert bool(seen.captured) == (where == "run")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Whatever ends in a test ends by itself, not because the garbage collector ran."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_closing_ends_every_thread(replaying: tuple[Omni, Seen], no_collector: None) -> None:
    ours, _ = replaying
    streamed(ours)
    assert {name.partition("_step")[0] for name in new_threads()} == {
        "omnijet-thinker", "omnijet-talker", "omnijet-dit",
    }  # fmt: skip
    ours.close()
    assert not new_threads()
    ours.close()
    with pytest.raises(OmnijetError):
        streamed(ours)
    assert not new_threads()


@pytest.mark.filterwarnings("ignore:Duplicate provider")
@pytest.mark.usefixtures("replaying", "no_collector")
def test_a_closed_backend_holds_no_session_and_runs_nothing(nano: tuple[Path, Path]) -> None:
    """Neither a graph of it nor what was bound to one keeps a session."""
    backend, bundle = OrtDeviceBackend("cuda", 1, device="cpu"), Bundle.open(nano[1])
    vocoder, talker = (
        backend.load(bundle.graph(name), bundle.manifest.contracts[name])
        for name in ("vocoder", "talker_step")
    )
    state = talker.new_state(16)
    step = talker.bind({"rows": 1, "capacity": 16}, state)
    lengths = [vocoder.bind({"frames": frames}, kept=True) for frames in (4, 6)]
    for bound in (step, *lengths):
        bound.run()
    inner = [weakref.ref(bound._work._session.require_open()) for bound in (step, *lengths)]
    assert len({id(one()) for one in inner}) == 3, "each length has a session"
    inner += [weakref.ref(bound._work._binding.made) for bound in (step, *lengths)]
    caches = weakref.ref(talker.new_state(32).lease.caches)
    assert caches() is not None, "idle, for the next conversation"
    del talker
    backend.close()
    backend.close()
    assert not new_threads() and not any(one() for one in inner)
    for bound in (step, *lengths):
        with pytest.raises(OmnijetError, match="its backend was closed"):
            bound.run()
    for use in (
        lambda: vocoder.bind({"frames": 4}),
        lambda: backend.load(bundle.graph("vocoder"), vocoder.contract),
    ):
        with pytest.raises(OmnijetError, match="graph vocoder cannot run"):
            use()


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_closing_waits_for_the_run_that_has_begun(
    replaying: tuple[Omni, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = replaying
    bound = ours.model.graph("dit_step").bind({"branches": 1, "blocks": 1}, kept=True)
    real = onnxruntime.InferenceSession.run_with_iobinding
    began, release, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(self: Any, binding: Any, options: Any = None) -> None:
        began.set()
        assert release.wait(30)
        real(self, binding, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", slow)
    running = threading.Thread(target=bound.run)
    running.start()
    assert began.wait(30)
    closing = threading.Thread(target=lambda: (ours.model.backend.close(), closed.set()))
    closing.start()
    assert not closed.wait(0.2)
    release.set()
    assert closed.wait(30)
    for thread in (running, closing):
        thread.join()
    assert np.isfinite(bound.outputs["velocity"]).all()


@pytest.mark.parametrize(
    ("here", "fix"),
    [
        ("workstation", 'pip install "onnxruntime-gpu[cuda,cudnn]"'),
        ("orin-nx-jp72", "omnijet build BUNDLE --target auto"),
        ("pc", "leave --provider out"),
    ],
)
def test_a_provider_that_is_not_there(
    nano: tuple[Path, Path], capsys: Capture, here: str, fix: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(fake_machine(tmp_path, here)))
    text = refused(capsys, "run", nano[1], "--text", "Hello", "--provider", "cuda")
    assert "no provider cuda" in text and "CPUExecutionProvider" in text
    assert fix in text


def test_a_provider_that_does_not_start(
    nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself goes on without the provider."""
    there = [PROVIDERS["cuda"].full_name]
    monkeypatch.setattr(backend_module.onnxruntime, "get_available_providers", lambda: there)
    omni = Omni.open(nano[1], backend=OrtDeviceBackend("cuda"))
    with omni, pytest.warns(UserWarning), pytest.raises(OmnijetError, match="did not start"):
        omni.model.graph("vocoder")


def test_a_gpu_that_is_not_used_is_mentioned(nano: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Bundle.open(nano[1])
    root = fake_machine(tmp_path, "workstation")
    assert hint(bundle, root) is None
    (root / "dev").mkdir()
    (root / "dev/nvidiactl").touch()
    assert (hint(bundle, root) or "").endswith("see --provider cuda")
    manifest = replace(bundle.manifest, precision="bf16")
    assert hint(Bundle(bundle.folder, manifest), root) is None, "no provider runs it"
    assert hint(bundle, fake_machine(tmp_path, "pc")) is None


def test_a_jetson_is_told_to_build(nano: tuple[Path, Path], tmp_path: Path) -> None:
    """No provider of ONNX Runtime has code for its GPU, and no engine of another machine fits."""
    bundle = Bundle.open(nano[1])
    root = fake_machine(tmp_path, "orin-nano-jp62")
    (root / "dev").mkdir()
    (root / "dev/nvhost-gpu").touch()
    build = f"omnijet build {bundle.folder} --target auto"
    assert (hint(bundle, root) or "").endswith(f"see {build}")

    def with_engines(**capabilities: int) -> str:
        engines = {
            target.replace("_", "-"): {"vocoder": engine(capability)}
            for target, capability in capabilities.items()
        }
        manifest = replace(bundle.manifest, engines=engines)
        return hint(Bundle(bundle.folder, manifest), root) or ""

    assert with_engines(rtx_ada=89).endswith(f"see {build}")
    assert with_engines(rtx_ada=89, orin_nano_jp62=87).endswith("see --engines orin-nano-jp62")
    quantized = replace(bundle.manifest, quantization={"form": "cpu"})
    assert hint(Bundle(bundle.folder, quantized), root) is None, "build refuses it"


def engine(capability: int) -> EngineEntry:
    return EngineEntry("engines/x", "key", "tensorrt", "10", capability, (), False, 1, 1, 1.0, 1)
