"""Imports what runs engines: TensorRT or TensorRT-RTX, and the CUDA runtime for Python."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from omnijet.runtime.bundle.entries import EngineLibrary, Library
from omnijet.runtime.errors import OmnijetError

TITLES: dict[Library, str] = {
    "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX", "onnxruntime": "ONNX Runtime",
}  # fmt: skip
_MODULES: dict[EngineLibrary, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
# the second is the name up to cuda-python 12.2, which some JetPack 6 systems have
_CUDA = ("cuda.bindings.runtime", "cuda.cudart")
_INSTALL: dict[EngineLibrary, str] = {
    "tensorrt": "on a Jetson it is part of JetPack: make the virtual environment with "
    "`python3 -m venv --system-site-packages`; elsewhere `pip install tensorrt{pin}`",
    "tensorrt_rtx": "`pip install tensorrt_rtx_cu13_libs{pin} tensorrt_rtx_cu13_bindings{pin}`",
}


def load_library(library: EngineLibrary, version: str) -> Any:
    """Imports the Python module of a library.

    Args:
        version: the version that the engines need, for the message.

    Raises:
        OmnijetError: the library is not installed, or does not load; how to get it.
    """
    module, faults = find_library(library)
    if module is None:
        raise OmnijetError(
            f"{TITLES[library]} is not here",
            expected=f"a Python module {' or '.join(_MODULES[library])}, version {version}",
            got="; ".join(faults),
            fix=_INSTALL[library].format(pin=f"=={version}"),
        )
    return module


def load_cuda() -> Any:
    """Imports the Python module of the CUDA runtime. Raises `OmnijetError` if there is none."""
    module, faults = find_cuda()
    if module is None:
        raise OmnijetError(
            "the CUDA runtime for Python is not here",
            expected=f"a Python module {' or '.join(_CUDA)}",
            got="; ".join(faults),
            fix='`pip install "omnijet[gpu]"`; where the driver knows CUDA 12 only (JetPack 6), '
            '`pip install "cuda-python<13"`',
        )
    return module


def present(library: EngineLibrary) -> bool:
    """Returns whether a library can be imported."""
    return find_library(library)[0] is not None


def find_library(library: EngineLibrary) -> tuple[Any, list[str]]:
    """Returns the Python module of a library, or None; and why other modules do not load."""
    return _first_importable(_MODULES[library])


def find_cuda() -> tuple[Any, list[str]]:
    """Returns the Python module of the CUDA runtime, as `find_library` does."""
    return _first_importable(_CUDA)


def _first_importable(names: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Returns the first module that can be imported, and why the modules before it could not."""
    faults: list[str] = []
    for name in names:
        try:
            return import_module(name), faults
        except (ImportError, OSError, RuntimeError) as error:  # a shared library may be missing
            faults.append(str(error).strip().splitlines()[0] if str(error) else repr(error))
    return None, faults
