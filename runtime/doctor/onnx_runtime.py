"""ONNX Runtime: whether it reads the graphs, and whether its GPU package has code for the GPU."""

from __future__ import annotations

from omnijet.runtime.backends.ort_release import OLDEST_TEXT, is_new_enough
from omnijet.runtime.doctor.finding import Finding, fault, note, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.machine.ways import OLDEST_PYTHON, WHEEL_CODE, cuda_provider_runs

CPU, GPU = "onnxruntime", "onnxruntime-gpu"
CUDA = "CUDAExecutionProvider"


def onnx_runtime(here: Here) -> Finding:
    """Says whether ONNX Runtime reads the graphs of a bundle."""
    found, install = here.libraries("onnxruntime"), here.install
    if found.missing:
        return fault("ONNX Runtime is not here", install.pip("install", CPU), install.private)
    if {CPU, GPU} <= set(found.packages):
        return fault("onnxruntime and onnxruntime-gpu are both installed, and overwrite each other",
                     f"{install.pip('uninstall', '-y', CPU, GPU)} && "
                     f"{install.pip('install', _wanted(here))}", install.private)  # fmt: skip
    if not found.works:
        return fault(f"ONNX Runtime does not load: {found.error}",
                     install.pip("install", "--force-reinstall", CPU), install.private)  # fmt: skip
    if is_new_enough(found.version):
        return ok(f"ONNX Runtime {found.version}")
    said = f"ONNX Runtime {found.version} does not read the graphs (opset 24 needs {OLDEST_TEXT})"
    if here.platform.python < OLDEST_PYTHON:
        return note(f"{said}, and there is none for this Python; engines run without it, and it "
                    "runs graphs that are built for it", f"omnijet build {here.bundle_word} "
                    "--target cpu", here.bundle_private)  # fmt: skip
    return fault(said, install.pip("install", "-U", found.packages[0] if found.packages else CPU),
                 install.private)  # fmt: skip


def onnx_runtime_gpu(here: Here) -> Finding | None:
    """Says whether the GPU package of ONNX Runtime can work on this GPU."""
    found, capability = here.libraries("onnxruntime"), here.platform.compute_capability
    if GPU not in found.packages or capability is None:
        return None
    back = (f"{here.install.pip('uninstall', '-y', CPU, GPU)} && "
            f"{here.install.pip('install', CPU)}")  # fmt: skip
    if here.platform.python < OLDEST_PYTHON:
        return fault(f"onnxruntime-gpu {found.version} does not read the graphs, and there is none "
                     "for this Python that does; the processor and engines can run them",
                     back, here.install.private)  # fmt: skip
    if not cuda_provider_runs(here.platform):
        known = sorted(WHEEL_CODE.get(here.platform.arch, ()))
        there = ", ".join(f"SM{one}" for one in known) or "no GPU"
        return fault(f"onnxruntime-gpu has code for {there}, not for SM{capability}: --provider "
                     "cuda cannot work here; the processor and engines can",
                     back, here.install.private)  # fmt: skip
    error = found.facts.get("cuda_error")
    if error is None and CUDA not in found.facts.get("providers", ()):
        error = "the package has none"
    if error is not None:
        return fault(f"onnxruntime-gpu is here, and its CUDA provider does not load: {error}",
                     here.install.pip("install", "--force-reinstall", f"{GPU}[cuda,cudnn]"),
                     here.install.private)  # fmt: skip
    return ok(f"onnxruntime-gpu {found.version} has code for SM{capability}")


def _wanted(here: Here) -> str:
    """Returns the one package of the two that is of use here."""
    return f"{GPU}[cuda,cudnn]" if cuda_provider_runs(here.platform) else CPU
