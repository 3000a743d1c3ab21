"""The device, its JetPack, and its GPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

from omnijet.runtime.commands.console import size_text
from omnijet.runtime.doctor.finding import Finding, fault, note, ok, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.machine.root import text

OLDEST_JETPACK = 6
"""TensorRT 8.5, that of JetPack 5, reads none of the graphs."""
CUDA_OF_JETPACK = {"6": 12, "7": 13}
NVIDIA, DISPLAY = "0x10de", "0x03"
"""Vendor and class of a graphics card in /sys/bus/pci."""
NODES = ("dev/nvmap", "dev/nvgpu/igpu0/ctrl", "dev/nvidiactl", "dev/nvidia0")
"""What a process opens to use the GPU; which of them there are depends on the machine."""
DRIVERS = {
    "ubuntu": "sudo ubuntu-drivers install",
    "debian": "sudo apt install nvidia-driver",
    "fedora": "sudo dnf install akmod-nvidia",
}
"""What installs NVIDIA's driver, by the ID of /etc/os-release."""
CONTAINERS = (
    "sudo nvidia-ctk runtime configure --runtime=docker --set-as-default "
    "&& sudo systemctl restart docker"
)
"""Lets containers see the GPU. Source: NVIDIA Container Toolkit, "Configuring Docker"."""
DRIVER_LOG = 'sudo dmesg | grep -iE "nvrm|nvgpu|nvidia|xid" | tail'
"""Shows what the kernel says of the GPU."""


def device(here: Here) -> Finding:
    """Names the machine."""
    found = here.platform
    processor = re.search(r"^model name\s*:\s*(.+)$", here.text("proc/cpuinfo"), re.MULTILINE)
    name = found.model or (processor.group(1).strip() if processor else "a computer")
    return ok(f"{name}, {found.arch}, {size_text(found.memory_bytes)} of memory")


def jetpack(here: Here) -> Finding | None:
    """Says which JetPack a Jetson has, and whether it is one that engines can be built on."""
    found = here.platform
    if not found.is_jetson:
        return None
    if found.l4t is None:
        return unknown("a Jetson without /etc/nv_tegra_release; a container hides it unless it is "
                       "mounted", "ls -l /etc/nv_tegra_release")  # fmt: skip
    linux = f"Jetson Linux {found.l4t}"
    if found.jetpack is None:
        return unknown(f"{linux}: this omnijet does not know its JetPack")
    if int(found.jetpack.split(".")[0]) < OLDEST_JETPACK:
        return fault(f"JetPack {found.jetpack} ({linux}): its TensorRT reads none of the graphs; "
                     "an Orin must be flashed with JetPack 6.2 or newer",
                     "apt-cache policy nvidia-jetpack")  # fmt: skip
    return ok(f"JetPack {found.jetpack} ({linux})")


def gpu(here: Here) -> Finding:
    """Names the GPU; a card without a driver is a fault."""
    found = here.platform
    if found.gpu is not None:
        capability = f", SM{found.compute_capability}" if found.compute_capability else ""
        memory = found.gpu_memory_bytes
        size = "shares the memory" if memory is None else size_text(memory)
        return ok(f"{found.gpu}{capability}, {size}")
    if found.is_jetson:
        return unknown("a Jetson whose chip this omnijet does not know")
    if not _has_card(here.root):
        return ok("no NVIDIA GPU: the processor runs the model")
    if _in_container(here):
        return fault("there is an NVIDIA card, and this container does not see it",
                     "docker run --rm --gpus all ubuntu nvidia-smi")  # fmt: skip
    return fault("there is an NVIDIA card, and no driver answers", _driver_line(here))


def gpu_access(here: Here) -> Finding | None:
    """Says whether this user may use the GPU."""
    nodes = [node for node in NODES if (here.root / node).exists()]
    closed = [node for node in nodes if not os.access(here.root / node, os.R_OK | os.W_OK)]
    if closed:
        return fault(f"this user may not use the GPU: /{', /'.join(closed)}; log in again after "
                     "this line", 'sudo usermod -aG video,render "$USER"')  # fmt: skip
    return ok(f"open: /{', /'.join(nodes)}") if nodes else None


def driver(here: Here) -> Finding | None:
    """Says which CUDA the driver knows."""
    if here.platform.gpu is None:
        return None
    found = here.libraries("driver")
    if found.works:
        return ok(f"it knows CUDA {found.version}")
    if found.missing and _in_container(here):
        return fault("this container does not see the driver's library, libcuda.so.1; type this "
                     "on the host, and start the container again", CONTAINERS)  # fmt: skip
    if found.missing and here.platform.is_jetson:
        return fault("the library of the driver, libcuda.so.1, is not here",
                     "sudo apt install nvidia-l4t-cuda")  # fmt: skip
    if found.missing:
        return fault("the library of the driver, libcuda.so.1, is not here", _driver_line(here))
    return fault(f"the driver does not answer: {found.error}", DRIVER_LOG)


def cuda_python(here: Here) -> Finding | None:
    """Says whether Python can call CUDA, which engines need."""
    if here.platform.gpu is None:
        return None
    found, known = here.libraries("cuda"), _known_cuda(here)
    pip = here.install.pip
    install = pip("install", "cuda-python<13" if known == 12 else "omnijet[gpu]")
    private = here.install.private
    if found.missing:
        said = "cuda-python is not here, which engines need"
        return (fault if here.platform.is_jetson else note)(said, install, private)
    if not found.works:
        return fault(f"cuda-python does not load: {found.error}", install, private)
    if known is not None and (_major(found.version) or 0) > known:
        return fault(f"cuda-python {found.version} is for CUDA {_major(found.version)}, and the "
                     f"driver knows CUDA {here.libraries('driver').version or known} only",
                     pip("install", f"cuda-python<{known + 1}"), private)  # fmt: skip
    if refused := found.facts.get("refused"):
        return fault(f"cuda-python {found.version} finds no GPU: {refused}", DRIVER_LOG)
    runtime = found.facts.get("runtime")
    return ok(f"cuda-python {found.version}" + (f", CUDA runtime {runtime}" if runtime else ""))


def _known_cuda(here: Here) -> int | None:
    """Returns the CUDA that the driver knows: 12 or 13; None: neither it nor JetPack tells."""
    jetpack = here.platform.jetpack or ""
    return _major(here.libraries("driver").version) or CUDA_OF_JETPACK.get(jetpack.split(".")[0])


def _in_container(here: Here) -> bool:
    return any((here.root / name).exists() for name in (".dockerenv", "run/.containerenv"))


def _has_card(root: Path) -> bool:
    """Returns whether a card of NVIDIA is plugged in."""
    for folder in (root / "sys/bus/pci/devices").glob("*"):
        vendor, kind = (text(folder / name) for name in ("vendor", "class"))
        if vendor == NVIDIA and kind.startswith(DISPLAY):
            return True
    return False


def _driver_line(here: Here) -> str:
    """Returns what installs the driver, or shows what it says."""
    system = here.text("etc/os-release")
    kinds = re.findall(r'^ID(?:_LIKE)?="?([\w -]+)', system, re.MULTILINE)
    names = [name for kind in kinds for name in kind.split()]
    return next((DRIVERS[name] for name in names if name in DRIVERS), DRIVER_LOG)


def _major(version: str) -> int | None:
    found = re.match(r"\d+", version)
    return int(found.group()) if found else None
