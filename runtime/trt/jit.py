"""TensorRT-RTX compiles kernels when an engine first runs: how, and where they are kept."""

from __future__ import annotations

import logging
import os
import weakref
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Not in the bundle, whose files are those that were written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "omnijet" / "tensorrt_rtx"


class Jit:
    """Makes an engine's contexts; its kernels are read from a file, and written at the end.

    The library checks a file against itself, the GPU and the driver, and takes none that does
    not fit. Whatever is wrong with the file costs compiling, nothing else.

    Args:
        key: what the kernels belong to.
    """

    def __init__(self, trt: Any, engine: Any, key: str) -> None:
        self._trt, self._engine = trt, engine
        path = cache_folder() / f"{key}.bin"
        config = engine.create_runtime_config()
        self._cache = config.create_runtime_cache()
        self._configs: dict[bool, Any] = {}  # contexts go on using theirs
        known = _read(self._cache, path)
        weakref.finalize(self, _write, self._cache, path, known)

    def context(self, strategy: Any, captures: bool) -> Any:
        """A new context; all share kernels.

        Args:
            captures: whether it captures what it runs.
        """
        if captures not in self._configs:
            config = self._configs[captures] = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.set_runtime_cache(self._cache)
            graphs = self._trt.CudaGraphStrategy
            config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if captures else graphs.DISABLED
        return self._engine.create_execution_context(self._configs[captures])


def _read(cache: Any, path: Path) -> bytes:
    try:
        kernels = path.read_bytes()
    except OSError:
        return b""
    if not cache.deserialize(kernels):
        _log.info("%s does not fit this GPU, driver or library: kernels are compiled anew", path)
        return b""
    return kernels


def _write(cache: Any, path: Path, known: bytes) -> None:
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        kernels = bytes(cache.serialize())
        if kernels == known:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(kernels)
        os.replace(beside, path)
    except OSError as error:
        _log.info("the compiled kernels were not kept: %s", error)
        beside.unlink(missing_ok=True)
