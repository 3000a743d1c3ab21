"""TensorRT-RTX compiles kernels when an engine first runs: how, and where they are kept."""

from __future__ import annotations

import logging
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Not in the bundle, whose files are those that were written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "omnijet" / "tensorrt_rtx"


class Jit:
    """Makes an engine's contexts; its kernels are read from a file and kept in it.

    The library checks a file against itself, the GPU and the driver, and takes none that does
    not fit. Whatever is wrong with the file costs compiling, nothing else.

    Args:
        key: what the kernels belong to.
    """

    def __init__(self, trt: Any, engine: Any, key: str) -> None:
        self._trt, self._engine = trt, engine
        cache = engine.create_runtime_config().create_runtime_cache()
        self._kernels = _Kernels(cache, cache_folder() / f"{key}.bin")
        self._configs: dict[bool, Any] = {}  # contexts go on using theirs
        self._kernels.read()
        weakref.finalize(self, self._kernels.write)

    def context(self, strategy: Any, captures: bool) -> Any:
        """A new context; all share kernels.

        Args:
            captures: whether it captures what it runs.
        """
        if captures not in self._configs:
            config = self._configs[captures] = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.set_runtime_cache(self._kernels.cache)
            graphs = self._trt.CudaGraphStrategy
            config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if captures else graphs.DISABLED
        return self._engine.create_execution_context(self._configs[captures])

    def keep(self) -> None:
        """Writes the kernels compiled so far. The end of a program may be too late: a signal
        skips it, and the thread that ends may know no GPU."""
        self._kernels.write()


class _Kernels:
    """Compiled kernels and their file."""

    def __init__(self, cache: Any, path: Path) -> None:
        self.cache, self._path = cache, path
        self._kept = b""  # what the file holds

    def read(self) -> None:
        try:
            kernels = self._path.read_bytes()
        except OSError:
            return
        if self.cache.deserialize(kernels):
            self._kept = kernels
        else:
            _log.info("%s does not fit this GPU, driver or library: compiled anew", self._path)

    def write(self) -> None:
        """If there is something new. Never raises: without the file all works, only later."""
        beside = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            serialized = self.cache.serialize()
            kernels = b"" if serialized is None else bytes(serialized)
            if kernels in (b"", self._kept):
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(kernels)
            os.replace(beside, self._path)
            self._kept = kernels
        except Exception as error:  # of the library's own there are many kinds
            _log.info("the compiled kernels were not kept: %s", error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)
