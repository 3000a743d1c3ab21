"""ONNX Runtime with buffers on a device: here on the processor, in copies of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import ort_device
from runtime.bundle import Bundle
from runtime.commands.opening import hint
from runtime.errors import ContractError, OmnijetError
from runtime.ort_device import PROVIDERS, DeviceState, OrtDeviceBackend, ProviderFacts
from runtime.pipeline import Omni
from runtime.providers import backend_for
from tests.command import Capture, refused

QUESTION = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def device(nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Omni:
    """The processor in the place of a device."""
    here = {**PROVIDERS, "cuda": ProviderFacts("CPUExecutionProvider")}
    monkeypatch.setattr(ort_device, "PROVIDERS", here)
    return Omni(Bundle.open(nano[1]), OrtDeviceBackend("cuda", 1, device="cpu"))


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_reply_is_that_of_shared_buffers(device: Omni, omni: Omni) -> None:
    options: dict[str, Any] = {"seed": 3, "max_text_tokens": 6, "max_codes": 12}
    ours, theirs = (one.generate(QUESTION, **options) for one in (device, omni))
    assert (ours.text_ids, ours.codes) == (theirs.text_ids, theirs.codes)
    assert np.array_equal(ours.audio, theirs.audio) and ours.audio.std() > 1e-3


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_what_was_not_taken_is_not_moved(device: Omni) -> None:
    bound = device._graph("vocoder").bind({"frames": 6})
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
    graph = device._graph("talker_step")
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


def test_a_provider_that_is_not_there(nano: tuple[Path, Path], capsys: Capture) -> None:
    text = refused(capsys, "run", nano[1], "--text", "Hello", "--provider", "cuda")
    assert "no provider cuda" in text and "CPUExecutionProvider" in text
    assert "onnxruntime-gpu" in text


def test_a_provider_that_does_not_start(
    nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself goes on without one."""
    monkeypatch.setattr(
        ort_device.onnxruntime, "get_available_providers", lambda: [PROVIDERS["cuda"].name]
    )
    omni = Omni(Bundle.open(nano[1]), OrtDeviceBackend("cuda"))
    with pytest.warns(UserWarning), pytest.raises(OmnijetError, match="did not start"):
        omni._graph("vocoder")


def test_an_unknown_provider(nano: tuple[Path, Path]) -> None:
    with pytest.raises(OmnijetError, match="no provider 'rocm'"):
        backend_for(Bundle.open(nano[1]), "rocm")
    assert backend_for(Bundle.open(nano[1]), "cpu").name == "onnxruntime-cpu"


def test_a_gpu_that_is_not_used_is_mentioned(nano: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Bundle.open(nano[1])
    assert hint(bundle, tmp_path) is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert "--provider cuda" in (hint(bundle, tmp_path) or "")
    manifest = replace(bundle.manifest, precision="bf16")
    assert hint(Bundle(bundle.folder, manifest), tmp_path) is None, "no provider runs it"
