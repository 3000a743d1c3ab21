"""Tests that a run of ONNX Runtime ends when what it works for is cancelled."""

from __future__ import annotations

import threading
import time

import numpy as np
import onnx
import onnxruntime
import pytest

from omnijet.runtime.backends.ort_session import OrtBinding, OrtSession
from omnijet.runtime.cancel import Cancellation, Cancelled
from omnijet.runtime.errors import OmnijetError

LONG = 10**9  # products, more than anybody waits for
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def session() -> OrtSession:
    """Returns a session of a graph that multiplies a matrix as often as its input says."""
    helper, types = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "x"], ["product"]),
            helper.make_node("Identity", ["condition"], ["goes_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", types.INT64, []),
            helper.make_tensor_value_info("condition", types.BOOL, []),
            helper.make_tensor_value_info("x", types.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("goes_on", types.BOOL, []),
            helper.make_tensor_value_info("product", types.FLOAT, [64, 64]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "start"], ["end"], body=body)],
        "powers",
        [
            helper.make_tensor_value_info("times", types.INT64, []),
            helper.make_tensor_value_info("start", types.FLOAT, [64, 64]),
        ],
        [helper.make_tensor_value_info("end", types.FLOAT, [64, 64])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    made = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return OrtSession(made, "powers")


def bound(session: OrtSession, times: int) -> OrtBinding:
    binding = session.binding()
    binding.made.bind_cpu_input("times", np.array(times))
    binding.made.bind_cpu_input("start", np.eye(64, dtype=np.float32))
    binding.made.bind_output("end")
    return binding


def test_cancelling_ends_a_run_and_no_other(session: OrtSession) -> None:
    cancellations = [Cancellation(), Cancellation()]
    ended: list[int] = []

    def work(number: int) -> None:
        with cancellations[number].governing():
            try:
                session.run(bound(session, LONG))
            except Cancelled:
                ended.append(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for number, (cancellation, thread) in enumerate(zip(cancellations, threads, strict=True)):
        time.sleep(0.05)
        assert ended == list(range(number)) and thread.is_alive()
        cancellation.cancel()
        thread.join(PATIENCE_S)
        assert ended == list(range(number + 1))
    with Cancellation().governing():
        session.run(bound(session, 3))  # the session is as good as new
    session.run(bound(session, 3))


def test_a_run_under_a_set_switch_ends_at_once(session: OrtSession) -> None:
    cancellation = Cancellation(KeyboardInterrupt)
    with cancellation.governing():
        session.run(bound(session, 3))
        cancellation.cancel()
        with pytest.raises(KeyboardInterrupt):
            session.run(bound(session, LONG))
    late = Cancellation()
    late.cancel()
    with late.governing(), pytest.raises(Cancelled):
        session.run(bound(session, LONG))


def test_a_run_that_fails_is_no_cancellation(session: OrtSession) -> None:
    binding = session.binding()
    with Cancellation().governing(), pytest.raises(OmnijetError, match="graph powers failed"):
        session.run(binding)
