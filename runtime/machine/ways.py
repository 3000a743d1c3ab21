"""What to install, and with which Python, on which platform: the words that messages give.

One place for all of them, because what works differs by machine: wheels for Jetsons are not those
for workstations, and JetPack's bindings of TensorRT are for one Python alone. Every command is held
against what exists on each platform in `tests/test_messages.py`. Sources: the wheels of these
packages, looked at in November 2026; JetPack's release notes.
"""

from __future__ import annotations

from collections.abc import Mapping

from omnijet.runtime.machine.platform import Platform

ENVIRONMENT = "~/omnijet"
OLDEST_PYTHON = (3, 11)
"""The first Python with an onnxruntime that knows the graphs' opset."""
WHEEL_CODE: Mapping[str, frozenset[int]] = {
    "x86_64": frozenset({75, 80, 86, 89, 90, 120}),
    "aarch64": frozenset({89, 90, 120, 121}),
}
"""Architecture -> compute capabilities that the wheel of onnxruntime-gpu has code for; no PTX."""
_RTX_CODE = frozenset({80, 86, 89, 120, 121})
"""Compute capabilities that TensorRT-RTX 1.7 builds all graphs for: on Turing, SM75, it has no FP32
products, which the DiT needs."""


def cuda_provider_runs(platform: Platform) -> bool:
    """Returns whether `--provider cuda` can work: whether a wheel has code for this GPU.

    Code runs on later GPUs of the same generation, but on no Jetson.
    """
    capability = platform.compute_capability
    if platform.is_jetson or capability is None or platform.python < OLDEST_PYTHON:
        return False
    return any(
        code // 10 == capability // 10 and code <= capability
        for code in WHEEL_CODE.get(platform.arch, ())
    )


def rtx_runs(platform: Platform) -> bool:
    """Returns whether TensorRT-RTX has wheels for this machine and code for its GPU."""
    return platform.arch == "x86_64" and platform.compute_capability in _RTX_CODE


def environment() -> str:
    """Returns what environment runs TensorRT's engines on a Jetson."""
    return (
        f"`/usr/bin/python3 -m venv --system-site-packages {ENVIRONMENT}`, then "
        f'`{ENVIRONMENT}/bin/pip install "omnijet[gpu,quantize]"`'
    )


def tensorrt(platform: Platform, version: str | None = None) -> str:
    """Returns how to get TensorRT and its Python bindings.

    Args:
        version: the one that engines were built with; None: any.
    """
    if platform.is_jetson:
        alone = ""
        if (platform.jetpack or "").startswith("6"):
            alone = (
                "They are for the system's Python 3.10; no package index has those of "
                "TensorRT 10.3 for another. "
            )
        return (
            f"`sudo apt install nvidia-jetpack` brings them. {alone}An environment sees them that "
            f"is made with {environment()}"
        )
    named = f"TensorRT {version}" if version else "TensorRT"
    own = f"install NVIDIA's {named} with its Python bindings"
    if rtx_runs(platform):
        return (
            f"{own}; or build for TensorRT-RTX, which `{rtx_command()}` brings: "
            "`omnijet build --list` shows its targets"
        )
    if cuda_provider_runs(platform):
        return f"{own}; or run without engines: --provider cuda"
    return own


def rtx_command() -> str:
    return 'pip install "omnijet[rtx]"'


def tensorrt_rtx(platform: Platform) -> str:
    """Returns how to get TensorRT-RTX."""
    if platform.arch != "x86_64":
        return (
            "TensorRT-RTX comes for x86-64 alone: build on such a machine and copy the bundle, or "
            "choose a target of TensorRT"
        )
    return f"`{rtx_command()}`"


def cuda_python(platform: Platform) -> str:
    """Returns how to get the CUDA runtime for Python."""
    if platform.is_jetson and platform.python < OLDEST_PYTHON:
        return '`pip install "omnijet[gpu]"`, which takes the version for CUDA 12 on Python 3.10'
    if (platform.jetpack or "").startswith("6"):
        return (
            "use the Python that JetPack 6 has TensorRT for: an environment made with "
            f"{environment()}"
        )
    return (
        '`pip install "omnijet[gpu]"`; where the driver knows CUDA 12 only, '
        '`pip install "cuda-python<13"`'
    )


def onnxruntime_gpu(platform: Platform, provider: str = "cuda") -> str:
    """Returns how to get a provider of ONNX Runtime for GPUs, or what to take in its place."""
    if platform.compute_capability is None and not platform.is_jetson:
        return "leave --provider out: this machine shows no NVIDIA GPU"
    if not cuda_provider_runs(platform):
        return f"{_without_code(platform)}: {engines_instead()}"
    if provider == "nv_tensorrt_rtx":
        return f"no wheel of onnxruntime has it: --provider cuda, or {engines_instead()}"
    return '`pip uninstall -y onnxruntime`, then `pip install "onnxruntime-gpu[cuda,cudnn]"`'


def _without_code(platform: Platform) -> str:
    if platform.python < OLDEST_PYTHON and not platform.is_jetson:
        return "onnxruntime-gpu for these graphs needs Python 3.11 or newer"
    return f"no onnxruntime-gpu has code for this GPU (SM{platform.compute_capability})"


def engines_instead() -> str:
    return (
        "build engines, `omnijet build BUNDLE --target auto`, and run them with --engines and the "
        "name of that target"
    )
