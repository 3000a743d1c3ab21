"""Imports what runs engines: TensorRT or TensorRT-RTX, and the CUDA runtime for Python."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from omnijet.runtime.bundle.entries import EngineLibrary, Library
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine import ways
from omnijet.runtime.machine.platform import this_platform

TITLES: dict[Library, str] = {
    "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX", "onnxruntime": "ONNX Runtime",
}  # fmt: skip
_MODULES: dict[EngineLibrary, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
# the second is the name up to cuda-python 12.2, which some JetPack 6 systems have
_CUDA = ("cuda.bindings.runtime", "cuda.cudart")


def load_library(library: EngineLibrary, version: str) -> Any:
    """Imports the Python module of a library.

    Args:
        version: the version that the engines need, for the message.

    Raises:
        OmnijetError: the library is not installed, or does not load; how to get it.
    """
    module, faults = find_library(library)
    if module is None:
        here = this_platform()
        is_rtx = library == "tensorrt_rtx"
        raise OmnijetError(
            f"{TITLES[library]} is not here",
            expected=f"a Python module {' or '.join(_MODULES[library])}, version {version}",
            got="; ".join(faults),
            fix=ways.tensorrt_rtx(here) if is_rtx else ways.tensorrt(here, version),
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
            fix=ways.cuda_python(this_platform()),
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


def findable(library: EngineLibrary | Literal["cuda"]) -> bool:
    """Returns whether a library's module, or the CUDA runtime's, is there; imports nothing big."""
    return any(map(_is_there, _CUDA if library == "cuda" else _MODULES[library]))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # a package that it is in
        return False


def _first_importable(names: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Returns the first module that can be imported, and why the modules before it could not."""
    faults: list[str] = []
    for name in names:
        try:
            return import_module(name), faults
        except (ImportError, OSError, RuntimeError) as error:  # a shared library may be missing
            faults.append(str(error).strip().splitlines()[0] if str(error) else repr(error))
    return None, faults
