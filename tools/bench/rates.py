"""What this machine can do at most: bytes read, and products of f32 and of 8 bits."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from omnijet.runtime.profiling import rates as measured

SIDE = 2048  # rows and columns of the product of 8 bits
ROUNDS = 5
READ_BYTES = 1 << 29  # far beyond any cache


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates with all cores.

    Attributes:
        read: bytes per second that numpy reads from memory, one thread for each core.
        f32: operations per second of a product of f32 matrices with numpy's BLAS.
        int8: operations per second of a product of u8 and s8 matrices in ONNX Runtime.
    """

    read: float
    f32: float
    int8: float

    @staticmethod
    def measure() -> Rates:
        threads = os.cpu_count() or 1
        return Rates(
            measured.read_bandwidth(READ_BYTES, threads),
            measured.matmul_peak(threads),
            integer_peak(threads),
        )

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def read_ms(self, size: float) -> float:
        return 1e3 * size / self.read


def integer_peak(threads: int) -> float:
    """Returns the operations per second of a large product of u8 and s8."""
    weights = np.random.default_rng(0).integers(-64, 64, (SIDE, SIDE), np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, (SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.INT32, (SIDE, SIDE))],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"a": np.full((SIDE, SIDE), 3, np.uint8)}
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        session.run(None, given)
        times.append(perf_counter() - began)
    return 2 * SIDE**3 / min(times)
