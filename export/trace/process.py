"""Traces graph after graph in a second process while the exporter writes weights.

Tracing a full-size model keeps one core busy with Python for minutes; writing weights
mostly waits and copies. In parallel, both take little longer than the slower one.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from omnijet.runtime.bundle.contract import Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.child.start import start
from omnijet.runtime.leftovers import leftover
from omnijet.runtime.shortage import OutOfMemory, ran_out

NO_MEMORY = 12  # the exit code of a process that ran out of it
NO_FILE = "weights-are-not-written-yet"


@contextmanager
def traced_graphs(
    names: Sequence[str], dims: ModelDims, precision: Precision, folder: Path
) -> Iterator[Iterator[tuple[str, ir.Model]]]:
    """Yields an iterator over (name, model), which returns each graph as soon as it is traced.

    The models' weights are names, shapes and dtypes only. Models pass through files in
    `folder`, which the caller removes. The process ends with the block in any case.

    Args:
        names: The graphs to trace, in this order.
        dims: The model's dimensions.
        precision: The dtype of Thinker, Talker and encoders.
        folder: A folder for temporary files.
    """
    job = {"names": list(names), "precision": precision, "folder": str(folder)}
    process = start(__name__, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with leftover(process.kill):
        try:
            with process.stdin as stdin:
                json.dump({**job, "dims": dims.to_json()}, stdin)
            yield _arriving(len(names), folder, process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _arriving(
    count: int, folder: Path, process: subprocess.Popen[str]
) -> Iterator[tuple[str, ir.Model]]:
    assert process.stdout is not None
    for _ in range(count):
        name = process.stdout.readline().strip()
        if not name:
            if process.wait() in (NO_MEMORY, -signal.SIGKILL):  # Linux kills who takes too much
                raise OutOfMemory("memory ran out while a graph was traced")
            raise RuntimeError("tracing failed; see the message above")
        yield name, ir.load(_path(folder, name))


def main() -> None:
    """Runs the process: reads a job as JSON from stdin, prints the name of each traced graph."""
    try:
        _trace_all()
    except Exception as error:
        if not ran_out(error):
            raise
        sys.exit(NO_MEMORY)


def _trace_all() -> None:
    # the tracer's libraries take seconds to load, and only this process needs them
    from omnijet.export.modules.base import weight_sources
    from omnijet.export.modules.graph_modules import GRAPH_MODULES
    from omnijet.export.trace.tracer import trace

    job = json.load(sys.stdin)
    dims = ModelDims.from_json(job["dims"])
    contracts = graph_contracts(dims, job["precision"])
    for name in job["names"]:
        module = GRAPH_MODULES[name](dims, job["precision"])
        model = trace(module, contracts[name])
        _drop_weights(model, weight_sources(module))
        ir.save(model, _path(Path(job["folder"]), name))
        print(name, flush=True)


def _drop_weights(model: ir.Model, names: Iterable[str]) -> None:
    """Replaces weights by references to a missing file, so that no values are saved."""
    for name in names:
        value = model.graph.initializers[name]
        tensor = value.const_value
        assert tensor is not None and value.shape is not None
        value.const_value = ir.ExternalTensor(
            NO_FILE, 0, tensor.nbytes, tensor.dtype, shape=value.shape, name=name, base_dir=""
        )


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.traced"
