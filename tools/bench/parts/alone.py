"""The kernels of a decode step by themselves: what no arrangement of the graph can beat.

Each reads operands that do not stay in the processor, with all cores. Its rate beside that at which
the machine reads says how much of a step is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from omnijet.engines.lowering.cpu import DOMAIN
from omnijet.runtime.bundle.contract import Array
from tools.bench.parts.setting import Setting
from tools.bench.row import Row

INPUTS, OUTPUTS = 2048, 11008  # the 3B's gate
FILLED, KV_HEADS, GROUP, WIDTH = 8192, 2, 8, 128  # the 3B's caches
SPILLED_BYTES = 1 << 28  # stays in no cache
SECONDS = 2.0  # of each measurement
BLOCKS = ((4, 32), (4, 64), (4, 128), (4, 256), (8, 128))
"""Bits of a weight, and how many weights share a scale."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator, and what it reads.

    Attributes:
        x: its first input.
        others: its other inputs, of each repetition.
        packed: whether these are weights, which ONNX Runtime packs.
    """

    name: str
    operator: NodeProto
    x: Array
    others: list[list[Array]]
    packed: bool

    @property
    def bytes(self) -> int:
        """Bytes that all repetitions read from memory."""
        return sum(array.nbytes for arrays in self.others for array in arrays)


def alone(setting: Setting) -> list[Row]:
    """Times the products of a step with weights, with keys and with values."""
    rows = []
    for kernel in (*(product(*kind) for kind in BLOCKS), keys(), values()):
        rate = kernel.bytes / seconds(kernel, setting.threads)
        rows.append(Row(kernel.name, "GB/s", rate / 1e9, setting.rates.read / 1e9, "memory"))
    return rows


def product(bits: int, block: int) -> Kernel:
    """A row times a weight, whose activations are rounded to 8 bits."""
    random = np.random.default_rng(0)
    blocks = INPUTS // block
    weights: list[list[Array]] = [
        [
            random.integers(0, 256, (OUTPUTS, blocks, block * bits // 8), np.uint8),
            random.random((OUTPUTS, blocks), np.float32),
        ]
        for _ in range(SPILLED_BYTES // (INPUTS * OUTPUTS * bits // 8))
    ]
    operator = helper.make_node(
        "MatMulNBits", [], [], domain=DOMAIN, K=INPUTS, N=OUTPUTS, bits=bits, block_size=block,
        accuracy_level=4,
    )  # fmt: skip
    name = f"alone: one row times INT{bits} weights in blocks of {block}"
    return Kernel(name, operator, random.random((1, INPUTS), np.float32), weights, packed=True)


def keys() -> Kernel:
    """The scores of a step whose query heads are rows of one product."""
    operator = helper.make_node("FusedMatMul", [], [], domain=DOMAIN, transB=1)
    return _over_cache("keys", operator, WIDTH)


def values() -> Kernel:
    """The values of a step, weighted by the scores."""
    return _over_cache("values", helper.make_node("MatMul", [], []), FILLED)


def _over_cache(what: str, operator: NodeProto, inner: int) -> Kernel:
    random = np.random.default_rng(0)
    shape = 1, KV_HEADS, FILLED, WIDTH
    caches: list[list[Array]] = [
        [random.random(shape, np.float32)]
        for _ in range(SPILLED_BYTES // (4 * int(np.prod(shape))))
    ]
    x = random.random((1, KV_HEADS, GROUP, inner), np.float32)
    return Kernel(f"alone: a step's product with {FILLED:,} {what}", operator, x, caches, False)


def seconds(kernel: Kernel, threads: int) -> float:
    """Returns the median time of all repetitions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    given = {"x": kernel.x}
    weights: dict[str, Array] = {}
    nodes, outputs = [], []
    for index, arrays in enumerate(kernel.others):
        named = {f"{index}.{place}": array for place, array in enumerate(arrays)}
        (weights if kernel.packed else given).update(named)
        node = NodeProto()
        node.CopyFrom(kernel.operator)
        node.input.extend(["x", *named])
        node.output.append(f"y{index}")
        nodes.append(node)
        outputs.append(helper.make_tensor_value_info(f"y{index}", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes, "alone",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
         for name, array in given.items()],
        outputs, [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 3:
        began = perf_counter()
        session.run(None, given)
        times.append(perf_counter() - began)
    return median(times[1:])
