"""A store of traced graphs, which the exports of one test run share.

Tracing is the slow part of an export and depends only on the dimensions and the precision of the
module. tests/test_cli.py compares the result with an export that shares nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import onnx_ir as ir

from omnijet.export.trace.process import traced_graphs
from omnijet.runtime.bundle.contract import GraphContract, Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims

Traced = Iterator[tuple[str, ir.Model]]
Tracer = Callable[[Sequence[str], ModelDims, Precision, Path], AbstractContextManager[Traced]]
# the dimensions that `GRAPH_MODULES` gives to each module
DIMS = {
    "audio_encoder": "audio",
    "vision_encoder": "vision",
    "thinker_step": "thinker",
    "talker_step": "talker",
    "dit_step": "dit",
    "vocoder": "vocoder",
}
ALWAYS_F32 = {"dit_step", "vocoder"}


def sharing_tracer(store: Path) -> Tracer:
    """Returns a stand-in for `traced_graphs` that traces only what `store` does not hold."""

    @contextmanager
    def tracer(
        names: Sequence[str], dims: ModelDims, precision: Precision, folder: Path
    ) -> Iterator[Traced]:
        contracts = graph_contracts(dims, precision)
        paths = {name: store / _key(contracts[name], dims, precision) for name in names}
        missing = [name for name in names if not paths[name].exists()]
        with ExitStack() as stack:
            new = (
                stack.enter_context(traced_graphs(missing, dims, precision, folder))
                if missing
                else iter(())
            )
            yield _stored(paths, missing, new)

    return tracer


def _stored(paths: dict[str, Path], missing: Sequence[str], new: Traced) -> Traced:
    for name, path in paths.items():
        if name in missing:
            arrived, model = next(new)
            assert arrived == name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(
                f".{os.getpid()}"
            )  # another test process may write the same trace
            ir.save(model, part)
            part.replace(path)
        else:
            model = ir.load(path)
        yield name, model


def _key(contract: GraphContract, dims: ModelDims, precision: Precision) -> str:
    parts = (
        contract,
        getattr(dims, DIMS[contract.name]),
        None if contract.name in ALWAYS_F32 else precision,
    )
    return f"{contract.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.traced"
