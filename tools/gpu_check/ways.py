"""The ways to run a bundle on this machine's GPU: its libraries and providers."""

from __future__ import annotations

import json
import subprocess
import sys
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime

from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.backends.ort_gpu.providers import PROVIDERS
from omnijet.runtime.backends.ort_installed import reads_graphs
from omnijet.runtime.backends.trt.device import Device, DeviceProperties
from omnijet.runtime.backends.trt.library import load_library, present
from omnijet.runtime.commands.opening import DRIVER_FILES, has_driver
from omnijet.runtime.errors import OmnijetError

ROOT = Path(__file__).parents[2]
BENEATH = {"tensorrt": "nvinfer", "nv_tensorrt_rtx": "tensorrt_rtx"}
"""The library of each provider. onnxruntime-gpu always lists the first provider, and falls back to
the CPU without its library."""


@dataclass(frozen=True, slots=True)
class Way:
    """A provider of ONNX Runtime, or engines of a target."""

    option: str  # --provider or --engines
    value: str

    @property
    def name(self) -> str:
        return f"onnxruntime {self.value}" if self.option == "--provider" else self.value

    @property
    def options(self) -> tuple[str, str]:
        """The options of the command line."""
        return self.option, self.value

    @property
    def keywords(self) -> dict[str, str]:
        """The keyword arguments of `Omni.open`."""
        return {self.option.removeprefix("--"): self.value}


def find_gpu() -> tuple[DeviceProperties, float] | str:
    """Returns the GPU's properties and memory in GB, or the reason why there is none.

    A second process asks, because a process that uses a GPU holds some hundred MB of it until its
    end.

    Raises:
        OmnijetError: The driver exists but does not answer.
    """
    if not has_driver():
        return f"no NVIDIA driver has made a device here (/{', /'.join(DRIVER_FILES)})"
    command = [sys.executable, "-m", "tools.gpu_check.ways"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise OmnijetError("the GPU does not answer", got=done.stderr.strip())
    found = json.loads(done.stdout.splitlines()[-1])
    return DeviceProperties(**found["facts"]), found["memory_gb"]


def main() -> int:
    try:
        device = Device.open()
        _, total_bytes = device.call("cudaMemGetInfo")
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"facts": asdict(device.properties), "memory_gb": int(total_bytes) / 1e9}))
    return 0


def ways(facts: DeviceProperties, memory_gb: float, target: str | None) -> list[Way]:
    """Returns all ways; engines of the given target, or of each installed library."""
    there = onnxruntime.get_available_providers() if reads_graphs() else ()
    found = [
        Way("--provider", name)
        for name, one in PROVIDERS.items()
        if one.full_name in there and (name not in BENEATH or find_library(BENEATH[name]))
    ]
    chosen = [target] if target else targets(facts, memory_gb)
    return found + [Way("--engines", name) for name in chosen]


def targets(facts: DeviceProperties, memory_gb: float) -> list[str]:
    """Returns the nearest target of each installed library that does not have more memory."""
    found = {}
    for target in TARGETS.values():
        if target.compute_capability != facts.compute_capability or not _has(target):
            continue
        size = target.memory_gb or 0.0
        best = found.get(target.library)
        if size <= 1.15 * memory_gb and (best is None or size > (best.memory_gb or 0.0)):
            found[target.library] = target
    return [target.name for target in found.values()]


def _has(target: Target) -> bool:
    """Tells whether the target's library is installed, in a version of its platform."""
    if target.library == "onnxruntime" or not present(target.library):
        return False
    try:
        version = load_library(target.library, "").__version__
    except OmnijetError:
        return False
    major, minor = (int(part) for part in version.split(".")[:2])
    return target.toolkit.oldest <= (major, minor) <= target.toolkit.newest


if __name__ == "__main__":
    sys.exit(main())
