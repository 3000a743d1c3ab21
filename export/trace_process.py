"""Tracing in a process of its own: graph after graph, while the exporter writes weights.

Tracing is Python and keeps one core busy for minutes at full size; writing weights is
mostly waiting and copying. Side by side they take little more than the longer of the two.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import onnx_ir as ir

from export.graph_modules import GRAPH_MODULES
from export.modules.base import weight_sources
from export.trace import trace
from runtime.contract import Precision, graph_contracts
from runtime.dims import ModelDims

NO_FILE = "weights-are-not-written-yet"


@contextmanager
def traced(
    names: Sequence[str], dims: ModelDims, precision: Precision, folder: Path
) -> Iterator[Iterator[tuple[str, ir.Model]]]:
    """Yields an iterator of (name, model), each as soon as it is traced.

    Weights of the models are names, shapes and dtypes only. Models pass through files in
    `folder`, which its owner removes. The process ends with the block, whatever happens.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_trace_all, args=(tuple(names), dims, precision, folder, sender), daemon=True
    )
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        yield _arriving(len(names), folder, receiver)
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _arriving(count: int, folder: Path, receiver: Connection) -> Iterator[tuple[str, ir.Model]]:
    for _ in range(count):
        try:
            message = receiver.recv()
        except EOFError:
            raise RuntimeError("the tracing process ended early; see its message above") from None
        if isinstance(message, BaseException):
            raise message
        name = cast(str, message)
        yield name, ir.load(_path(folder, name))


def _trace_all(
    names: Sequence[str],
    dims: ModelDims,
    precision: Precision,
    folder: Path,
    sender: Connection,
) -> None:
    """The process. Ctrl-C reaches it too: it ends in silence, the exporter says the rest."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    contracts = graph_contracts(dims, precision)
    try:
        for name in names:
            module = GRAPH_MODULES[name](dims, precision)
            model = trace(module, contracts[name])
            _drop_weights(model, weight_sources(module))
            ir.save(model, _path(folder, name))
            sender.send(name)
    except Exception as error:
        sender.send(error)


def _drop_weights(model: ir.Model, names: Iterable[str]) -> None:
    """Weights become references to a file that is not there: they can be saved unread."""
    for name in names:
        value = model.graph.initializers[name]
        tensor = value.const_value
        assert tensor is not None and value.shape is not None
        value.const_value = ir.ExternalTensor(
            NO_FILE, 0, tensor.nbytes, tensor.dtype, shape=value.shape, name=name, base_dir=""
        )


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.traced"
