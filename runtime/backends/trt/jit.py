"""Kernels that TensorRT-RTX compiles when an engine first runs, and the file that keeps them."""

from __future__ import annotations

import logging
import os
import weakref
from pathlib import Path
from typing import Any

from omnijet.runtime.files.whole_file import write_whole

_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""More is no file of kernels: those of a 7B take 20 MB."""


def cache_folder() -> Path:
    """Returns the folder of the files. It is not in the bundle, which never changes."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "omnijet" / "tensorrt_rtx"


class Jit:
    """Makes an engine's contexts, whose kernels are read from a file and kept in it.

    The library checks a file against itself, the GPU and the driver, and refuses one that does
    not fit. A bad file costs compiling, nothing else.

    Args:
        key: names the file: the engine and the GPU that the kernels belong to.
    """

    def __init__(self, trt: Any, engine: Any, key: str) -> None:
        self._trt, self._engine = trt, engine
        cache = engine.create_runtime_config().create_runtime_cache()
        self._kernels = _Kernels(cache, cache_folder() / f"{key}.bin")
        self._configs: dict[bool, Any] = {}  # a context goes on using its config
        self._kernels.read()
        weakref.finalize(self, self._kernels.write)

    def context(self, strategy: Any, captures: bool) -> Any:
        """Makes a context; all contexts share the kernels.

        Args:
            captures: whether the context captures what it runs.
        """
        if captures not in self._configs:
            config = self._configs[captures] = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.set_runtime_cache(self._kernels.cache)
            graphs = self._trt.CudaGraphStrategy
            config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if captures else graphs.DISABLED
        return self._engine.create_execution_context(self._configs[captures])

    def keep(self) -> None:
        """Writes the kernels compiled so far. The end of the program may be too late: a signal
        skips it, and the thread that ends the program may have no CUDA context.
        """
        self._kernels.write()


class _Kernels:
    """Compiled kernels and their file."""

    def __init__(self, cache: Any, path: Path) -> None:
        self.cache, self._path = cache, path
        self._kept = b""  # what the file holds

    def read(self) -> None:
        try:
            if not self._path.is_file() or self._path.stat().st_size > MOST_BYTES:
                return
            kernels = self._path.read_bytes()
        except OSError:
            return
        if self.cache.deserialize(kernels):
            self._kept = kernels
        else:
            _log.info("%s does not fit this GPU, driver or library: compiled anew", self._path)

    def write(self) -> None:
        """Writes the file if there is something new. Never raises: without the file everything
        works, only later.
        """
        try:
            serialized = self.cache.serialize()
            kernels = b"" if serialized is None else bytes(serialized)
            if kernels in (b"", self._kept):
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, kernels, follow_link=False)
            self._kept = kernels
        except Exception as error:  # the library has many classes of its own
            _log.info("the compiled kernels were not kept: %s", error)
