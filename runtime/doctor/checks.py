"""All checks, in the order in which they are run and shown."""

from __future__ import annotations

from omnijet.runtime.doctor import (
    bundle_state,
    device,
    disk,
    engine_libraries,
    memory,
    onnx_runtime,
    power,
    sound_system,
)
from omnijet.runtime.doctor.check import Check
from omnijet.runtime.doctor.engine_state import engine_state
from omnijet.runtime.doctor.finding import Finding, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.sound_test import sound_test


def python(here: Here) -> Finding:
    """Says which Python this is."""
    of = "in a virtual environment" if not here.install.is_system else "the system's"
    return ok("Python {}.{}, {}".format(*here.platform.python, of))


CHECKS: tuple[Check, ...] = (
    Check("device", device.device),
    Check("JetPack", device.jetpack),
    Check("GPU", device.gpu),
    Check("GPU access", device.gpu_access),
    Check("driver", device.driver),
    Check("Python", python),
    Check("CUDA for Python", device.cuda_python),
    Check("TensorRT library", engine_libraries.tensorrt_library),
    Check("TensorRT bindings", engine_libraries.tensorrt_bindings),
    Check("TensorRT match", engine_libraries.tensorrt_match),
    Check("TensorRT-RTX", engine_libraries.tensorrt_rtx),
    Check("ONNX Runtime", onnx_runtime.onnx_runtime),
    Check("ONNX Runtime on the GPU", onnx_runtime.onnx_runtime_gpu),
    Check("memory", memory.memory),
    Check("zram", memory.zram),
    Check("desktop", memory.desktop),
    Check("power mode", power.power_mode),
    Check("clocks", power.clocks),
    Check("throttling", power.throttling),
    Check("disk space", disk.disk_free),
    Check("disk speed", disk.disk_speed),
    Check("sound devices", sound_system.sound_devices),
    Check("sound access", sound_system.sound_access),
    Check("sound server", sound_system.sound_server),
    Check("microphone", sound_system.microphone),
    Check("speaker", sound_system.speaker),
    Check("PortAudio", sound_system.portaudio),
    Check("sound test", sound_test),
    Check("bundle", bundle_state.bundle),
    Check("bundle check", bundle_state.checked),
    Check("ways to run", bundle_state.ways),
)
BEFORE = "ways to run"
"""What was built for each target of a bundle is looked at before this check."""


def checks_for(here: Here) -> list[Check]:
    """Returns the checks, with one for each target that the bundle was built for."""
    targets = [] if here.manifest is None else list(here.manifest.engines)
    built = [
        Check(f"engines {target}", lambda here, target=target: engine_state(here, target))  # type: ignore[misc]
        for target in targets
    ]
    at = next(place for place, check in enumerate(CHECKS) if check.name == BEFORE)
    return [*CHECKS[:at], *built, *CHECKS[at:]]
