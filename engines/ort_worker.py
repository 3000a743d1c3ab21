"""Reads one graph with ONNX Runtime, and lets its optimizer save it, in a process of its own.

The job is JSON on stdin. The worker prints a line of JSON, its verdict. It imports onnxruntime and
nothing of the package, so that it can run in another environment, and so that what runs out of
memory ends no other process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from typing import Any

INLINE_BYTES = 4096
"""Smaller weights stay in the graph file: ONNX Runtime does not look for sizes of a Split or
Reshape in another file."""
SAID = 300  # characters of an error
FATAL = 4  # of the library's own lines


class Refused(Exception):
    """A stage that failed, and what the library said about it."""

    def __init__(self, stage: str, said: str) -> None:
        self.stage, self.said = stage, said
        super().__init__(stage)


def main() -> None:
    """Runs one job. The last line is a verdict, whatever the library prints."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # the first that the kernel kills for memory
    job = json.load(sys.stdin)
    version = "?"
    try:
        try:
            onnxruntime = importlib.import_module("onnxruntime")
        except (ImportError, OSError) as error:
            raise Refused("import", f"onnxruntime: {error}") from error
        version = onnxruntime.__version__
        verdict = {"probe": probe, "read": read, "optimize": optimize}[job["do"]](onnxruntime, job)
    except Refused as error:
        verdict = {"done": False, "stage": error.stage, "said": [error.said[:SAID]]}
    print("\n" + json.dumps(verdict | {"verdict": True, "version": version}), flush=True)


def probe(ort: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Returns nothing but that the library is there."""
    return {"done": True, "ahead": [], "here": None}


def read(ort: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Reads a graph file, and looks up the kernels of its nodes on the CPU if asked to.

    Args of the job:
    graph: the file. kernels: whether to look them up; a GPU's are not there without the GPU.
    entries: session options by name.
    """
    options = _options(ort, job)
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    began = time.monotonic()
    try:
        if job["kernels"]:
            ort.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
        else:  # what a session is made of, before its kernels are chosen
            ort.capi._pybind_state.InferenceSession(options, job["graph"], True, False)
    except Exception as error:  # onnxruntime's own classes share no narrower base
        raise Refused("read", str(error).strip().splitlines()[0]) from error
    return _done(began)


def optimize(ort: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Saves what the optimizer makes of a graph for this processor.

    Weights go to a file of the graph's name, each once: kernels do not pack them.

    Args of the job:
    graph: the file. made: the file to write, in a folder of its own. weights: the name of the
    weights beside it. entries: session options by name.
    """
    options = _options(ort, job)
    options.optimized_model_filepath = job["made"]
    prefix = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(f"{prefix}file_name", job["weights"])
    options.add_session_config_entry(f"{prefix}min_size_in_bytes", str(INLINE_BYTES))
    began = time.monotonic()
    try:
        ort.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
        for name in (job["made"], os.path.join(os.path.dirname(job["made"]), job["weights"])):
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
    except Exception as error:
        raise Refused("optimize", str(error).strip().splitlines()[0]) from error
    return _done(began)


def _options(ort: Any, job: dict[str, Any]) -> Any:
    """Returns options with which weights are mapped, and neither packed nor copied."""
    ort.set_default_logger_severity(FATAL)
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    for name, value in job["entries"].items():
        options.add_session_config_entry(name, value)
    return options


def _done(began: float) -> dict[str, Any]:
    return {"done": True, "seconds": time.monotonic() - began, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Returns the peak memory of this process. `getrusage` would include the parent's."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            peak = next(line for line in file if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    except (OSError, StopIteration):  # another system
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
