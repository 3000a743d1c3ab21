"""The double faults where a GPU would crash or return garbage; otherwise it would prove little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnijet.runtime.backends.trt.device import Device
from omnijet.runtime.bundle.folder import Bundle
from tests.runtime.backends.trt.engines import Machine
from tests.runtime.backends.trt.gpu import Cuda, Fault, Gpu


@pytest.fixture
def device() -> Device:
    return Device(Cuda(Gpu()))


def test_what_is_read_before_the_stream_was_waited_for_is_stale(device: Device) -> None:
    stream, memory, host = device.stream(), device.memory(8), device.host_memory(8)
    stream.zero(memory)
    host.bytes[:] = 7
    stream.bring(host.address, memory.address, 8)
    assert (host.bytes == 7).all()
    stream.wait()
    assert not host.bytes.any()


def test_memory_that_was_freed(device: Device) -> None:
    stream, memory = device.stream(), device.memory(8)
    address = memory.address
    del memory
    with pytest.raises(Fault, match="not allocated"):
        stream.send(address, device.host_memory(8).address, 8)


def test_copies_beyond_a_buffer_and_of_the_wrong_kind(device: Device) -> None:
    stream, memory, host = device.stream(), device.memory(8), device.host_memory(16)
    with pytest.raises(Fault, match="beyond"):
        stream.send(memory.address, host.address, 9)
    with pytest.raises(Fault, match="device memory, not host"):
        stream.bring(memory.address, memory.address, 8)


def context(built: Path, orin: Machine) -> Any:
    bundle = Bundle.open(built)
    entry = bundle.manifest.engines["orin-nx"]["vocoder"]
    log = orin.library.ILogger()
    engine = orin.library.Runtime(log).deserialize_cuda_engine((built / entry.file).read_bytes())
    return engine.create_execution_context(orin.library.ExecutionContextAllocationStrategy.STATIC)


def test_contexts(built: Path, orin: Machine) -> None:
    device = Device(Cuda(orin.gpu))
    stream = device.stream()
    made = context(built, orin)
    assert not made.set_input_shape("mel", (1, 80, 301)), "beyond the profile"
    assert made.infer_shapes() == ["mel"]
    assert made.set_input_shape("mel", (1, 80, 10))
    with pytest.raises(Fault, match="no address"):
        made.execute_async_v3(stream.number)
    mel, wave = device.memory(80 * 10 * 4), device.memory(10 * 240 * 4)
    assert made.set_tensor_address("mel", mel.address)
    assert not made.set_tensor_address("wave", wave.address + 4), "not aligned"
    assert made.set_tensor_address("wave", wave.address)
    assert made.execute_async_v3(stream.number)
    with pytest.raises(Fault, match="never written"):
        stream.wait()
    stream.zero(mel)
    made.execute_async_v3(stream.number)
    stream.wait()
    assert np.isfinite(orin.gpu.view(wave.address, wave.size, "device").view(np.float32)).all()


def test_a_captured_context_must_not_change(built: Path, orin: Machine) -> None:
    device = Device(Cuda(orin.gpu))
    stream = device.stream()
    made = context(built, orin)
    made.set_input_shape("mel", (1, 80, 10))
    mel, wave = device.memory(80 * 10 * 4), device.memory(10 * 240 * 4)
    made.set_tensor_address("mel", mel.address)
    made.set_tensor_address("wave", wave.address)
    stream.begin_capture()
    with pytest.raises(Fault, match="before a plain run"):
        made.execute_async_v3(stream.number)
    stream.drop_capture()
    stream.zero(mel)
    made.execute_async_v3(stream.number)
    stream.wait()
    stream.begin_capture()
    made.execute_async_v3(stream.number)
    captured = stream.end_capture()
    captured.launch()
    stream.wait()
    with pytest.raises(Fault, match="captured context was changed"):
        made.set_tensor_address("mel", mel.address)


def test_caches_at_the_wrong_address(built: Path, orin: Machine) -> None:
    bundle = Bundle.open(built)
    entry = bundle.manifest.engines["orin-nx"]["talker_step"]
    content = json.loads((built / entry.file).read_bytes())
    assert content["in_place"] and content["state"]
    content["in_place"] = False
    engine = orin.library.Runtime(orin.library.ILogger()).deserialize_cuda_engine(
        json.dumps(content).encode()
    )
    made = engine.create_execution_context(orin.library.ExecutionContextAllocationStrategy.STATIC)
    device = Device(Cuda(orin.gpu))
    stream, room = device.stream(), device.memory(1 << 20)
    for name, tensor in engine.tensors.items():
        made.set_tensor_address(name, room.address)
        if tensor["mode"] == "INPUT":
            made.set_input_shape(name, engine.get_tensor_profile_shape(name, 0)[0])
    with pytest.raises(Fault, match="one address or two"):
        made.execute_async_v3(stream.number)
