"""The doubles have the names, parameters and values of the real libraries, so that a call that
works with a double exists in the library. Needs the bindings, but neither GPU nor driver.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.backends.trt import gpu, library

PYTHON = os.environ.get("OMNIJET_RTX_PYTHON", sys.executable)
CLASSES = (
    library.ILogger, library.Runtime, library.ICudaEngine, library.IRuntimeConfig,
    library.IRuntimeCache, library.IExecutionContext,
)  # fmt: skip
ENUMS = {
    "trt": (library.TensorIOMode, library.DataType, library.ExecutionContextAllocationStrategy,
            library.CudaGraphStrategy),
    "cuda": (gpu.cudaError_t, gpu.cudaMemcpyKind, gpu.cudaStreamCaptureMode,
             gpu.cudaDeviceAttr),
}  # fmt: skip
# attributes that the backend reads from objects of the library
ATTRIBUTES = {
    "ICudaEngine": ("num_io_tensors", "num_optimization_profiles", "device_memory_size_v2"),
    "IRuntimeConfig": ("cuda_graph_strategy",),
}


def methods(owner: Any) -> dict[str, list[str]]:
    """Returns the parameters' names of each public method of a double."""
    found = {}
    for name, value in vars(owner).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            found[name] = list(inspect.signature(value).parameters)[1:]
    return found


def real(*names: str) -> dict[str, Any]:
    script = Path(__file__).parent / "signatures.py"
    done = subprocess.run([PYTHON, str(script), *names], capture_output=True, text=True)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("no tensorrt_rtx_bindings or cuda-python here: set OMNIJET_RTX_PYTHON")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_methods_of_tensorrt() -> None:
    ours = {
        f"trt:{owner.__name__}.{name}": parameters
        for owner in CLASSES
        for name, parameters in methods(owner).items()
    }
    found = real(*ours)
    wrong = {name: (p, found[name]) for name, p in ours.items() if p not in (found[name] or [])}
    assert len(ours) > 15 and not wrong


def test_attributes_of_tensorrt() -> None:
    names = [f"trt:{owner}.{one}" for owner, every in ATTRIBUTES.items() for one in every]
    assert real(*names) == dict.fromkeys(names, "property")


def test_functions_of_cuda() -> None:
    """Names, parameters and the count of returned values are the same."""
    ours = {f"cuda:{name}": parameters for name, parameters in methods(gpu.Cuda).items()}
    found = real(*ours)
    wrong = {name: (p, found[name]) for name, p in ours.items() if (found[name] or [0])[0] != p}
    assert len(ours) > 20 and not wrong
    device = gpu.Gpu()
    cuda = gpu.Cuda(device)
    _, stream = cuda.cudaStreamCreateWithFlags(1)
    assert [len(cuda.cudaMalloc(8)), len(cuda.cudaMemGetInfo())] == [
        found["cuda:cudaMalloc"][1], found["cuda:cudaMemGetInfo"][1],
    ]  # fmt: skip
    cuda.cudaStreamBeginCapture(stream, gpu.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed)
    _, graph = cuda.cudaStreamEndCapture(stream)
    for name, made in {
        "cudaGraphInstantiate": cuda.cudaGraphInstantiate(graph, 0),
        "cudaHostAlloc": cuda.cudaHostAlloc(8, 0),
        "cudaGetDeviceCount": cuda.cudaGetDeviceCount(),
        "cudaGetErrorName": cuda.cudaGetErrorName(0),
        "cudaStreamSynchronize": cuda.cudaStreamSynchronize(stream),
    }.items():
        assert len(made) == found[f"cuda:{name}"][1], name


@pytest.mark.parametrize("kind", ENUMS)
def test_values(kind: str) -> None:
    ours: dict[str, int] = {}
    for enum in ENUMS[kind]:
        assert issubclass(enum, IntEnum)
        ours |= {f"{kind}:{enum.__name__}={one.name}": one.value for one in enum}
    if kind == "cuda":
        ours |= {f"cuda:{name}": value for name, value in gpu.CONSTANTS.items()}
    else:
        ours |= {f"trt:ILogger.Severity={one.name}": one.value for one in library.Severity}
    assert real(*ours) == ours


def test_a_misspelt_call_is_noticed() -> None:
    found = real("trt:IExecutionContext.set_tensor_adress", "cuda:cudaMemcpyAsnyc")
    assert set(found.values()) == {None}
