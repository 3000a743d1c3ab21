"""Parses and builds one graph with TensorRT-RTX, ahead of time: no GPU, no driver.

A process of its own: reads a job as JSON on stdin, prints a verdict as JSON. It imports nothing
but the bindings, so that they can live in an environment of their own.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def build(path: str, shapes: dict[str, list[list[int]]], target: str) -> dict[str, Any]:
    """Args:
    shapes: of each input, smallest, usual and largest.
    target: a compute capability, `SM86`.
    """
    import tensorrt_rtx_bindings as trt

    said: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(message)

    log = Log()
    builder = trt.Builder(log)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    start = time.monotonic()
    if not parser.parse_from_file(path):
        faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        return {"built": False, "stage": "parser", "said": (faults or said)[:3]}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(name, *[tuple(shape) for shape in shapes[name]])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - start
    if plan is None:
        return {"built": False, "stage": "builder", "said": said[:3], "seconds": seconds}
    return {
        "built": True,
        "layers": network.num_layers,
        "bytes": plan.nbytes,
        "seconds": seconds,
        "version": trt.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(build(**json.load(sys.stdin))))
