"""Imports one library in a process of its own, which may crash or hang, and tells what it is.

The last line that the process prints is one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from omnijet.runtime.backends.trt.library import find_cuda, find_library
from omnijet.runtime.bundle.entries import EngineLibrary

Facts = dict[str, Any]
MAPS = Path("/proc/self/maps")
DRIVER = "libcuda.so.1"
_PROVIDER = "libonnxruntime_providers_{}.so"
_IS_MISSING = re.compile(r"No module named '(cuda|tensorrt|tensorrt_rtx|tensorrt_rtx_bindings)\b")
"""What the import of a library says that is not installed, and not of another that it needs."""


def main() -> None:
    """Prints the facts of the library that the first argument names."""
    name = sys.argv[1]
    try:
        found = TRIALS[name]()
    except Exception as error:  # a library may raise whatever it likes while it is imported
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print("\n" + json.dumps(found), flush=True)


def _engines(library: EngineLibrary, file: str, version_call: str) -> Facts:
    """Tells of the bindings of TensorRT or TensorRT-RTX, and of the library that they loaded."""
    module, faults = find_library(library)
    if module is None:
        return _absent(faults)
    return {
        "version": str(module.__version__),
        "packages": _packages(module.__name__),
        "loaded": _loaded(file, version_call),
    }


def _loaded(file: str, version_call: str) -> str | None:
    """Returns the version of a shared library that this process has loaded."""
    mapped = re.findall(rf"\S*/{re.escape(file)}\.so\S*", MAPS.read_text(encoding="utf-8"))
    for path in mapped[:1]:
        with suppress(OSError, AttributeError):
            number = int(getattr(ctypes.CDLL(path), version_call)())
            return version_text(number)
    return None


def version_text(number: int) -> str:
    """Returns the version that a number of TensorRT means.

    Source: NvInferVersion.h: 10,000 x major + 100 x minor + patch, from version 10 on; before that
    1,000 x major. TensorRT-RTX 1 counts as the new ones do.
    """
    if 4000 <= number < 10_000:
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _cuda() -> Facts:
    """Tells of the CUDA runtime, and what it says of driver and GPU."""
    module, faults = find_cuda()
    if module is None:
        return _absent(faults)
    found: Facts = {"version": _version("cuda-bindings", "cuda-python")}
    error, runtime = module.cudaRuntimeGetVersion()
    found["runtime"] = None if error else _cuda_text(int(runtime))
    error, *count = module.cudaGetDeviceCount()
    found["devices"] = int(count[0]) if count and not error else 0
    if error:
        found["refused"] = bytes(module.cudaGetErrorName(error)[1]).decode("utf-8", "replace")
    return found


def _driver() -> Facts:
    """Tells which CUDA the driver knows, without a start of CUDA."""
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError as error:
        return {"missing": True, "error": str(error)}
    number = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(number)):
        return {"error": "cuDriverGetVersion failed"}
    return {"version": _cuda_text(number.value)}


def _cuda_text(number: int) -> str:
    """Returns the version that a number of CUDA means: 1,000 x major + 10 x minor."""
    return f"{number // 1000}.{number // 10 % 100}"


def _onnxruntime() -> Facts:
    found = _imported("onnxruntime")
    if found is None:
        return {"missing": True, "error": "no module named onnxruntime"}
    return {
        "version": str(found.__version__),
        "packages": _packages("onnxruntime"),
        "providers": list(found.get_available_providers()),
        "cuda_error": _cuda_error(found),
    }


def _cuda_error(onnxruntime: Any) -> str | None:
    """Returns why the CUDA provider does not load; None: it does, or this package has none.

    ONNX Runtime lists the providers that it was built with. What they need is looked for later.
    """
    folder = Path(onnxruntime.__file__).parent / "capi"
    if not (folder / _PROVIDER.format("cuda")).exists():
        return None
    with suppress(Exception):  # newer versions find CUDA in packages of pip
        onnxruntime.preload_dlls()
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / _PROVIDER.format(name)), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None


def _sounddevice() -> Facts:
    """Tells how many microphones and speakers PortAudio has; their names may tell of people."""
    try:
        found = _imported("sounddevice")
    except OSError as error:  # the module is there, PortAudio is not
        return {"portaudio": False, "error": str(error)}
    if found is None:
        return {"missing": True, "error": "no module named sounddevice"}
    devices = list(found.query_devices())
    return {
        "version": str(found.__version__),
        "microphones": sum(one["max_input_channels"] > 0 for one in devices),
        "speakers": sum(one["max_output_channels"] > 0 for one in devices),
    }


TRIALS: Mapping[str, Callable[[], Facts]] = {
    "driver": _driver,
    "cuda": _cuda,
    "tensorrt": lambda: _engines("tensorrt", "libnvinfer", "getInferLibVersion"),
    "tensorrt_rtx": lambda: _engines("tensorrt_rtx", "libtensorrt_rtx", "getInferLibVersion"),
    "onnxruntime": _onnxruntime,
    "sounddevice": _sounddevice,
}


def _absent(faults: list[str]) -> Facts:
    """Returns the facts of a library of which no module loads."""
    told = [fault for fault in faults if not _IS_MISSING.match(fault)]
    return {"missing": not told, "error": "; ".join(told or faults)}


def _imported(name: str) -> Any:
    """Imports a module; None: there is none of this name."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _packages(module: str) -> list[str]:
    """Returns the installed packages that a module is from; none: the system's, or a folder's."""
    return sorted(set(metadata.packages_distributions().get(module, [])))


def _version(*packages: str) -> str:
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return "unknown"
