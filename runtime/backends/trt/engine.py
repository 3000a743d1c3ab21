"""One engine on the device: its file is read and checked, and contexts run it."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.opened import Opened, backend_closed
from omnijet.runtime.backends.trt.device import Device, DeviceMemory
from omnijet.runtime.backends.trt.jit import Jit
from omnijet.runtime.backends.trt.log import log_of
from omnijet.runtime.backends.trt.names import DTYPES
from omnijet.runtime.bundle.contract import (
    FoundTensor,
    GraphContract,
    TensorSpec,
    split_axis,
    verify,
)
from omnijet.runtime.bundle.manifest import EngineEntry
from omnijet.runtime.errors import OmnijetError

KEPT_AFTER = frozenset({1, 8, 64})
"""Numbers of runs after which compiled kernels are kept: the library goes on to compile better
kernels for the shapes that it sees."""


class Engine:
    """A deserialised engine with a stream of its own.

    All its contexts share one block of scratch memory, which is safe because they run in order on
    one stream. A captured context may run nothing else, so captured work has a context of its own;
    all other work shares one context for each profile.

    Args:
        trt: the library's module.
        path: the engine file.
        sha256: the hash that the file must have.
        fix: the command that builds the engine anew.

    Attributes:
        lock: held around every use of the stream and the contexts, within a `device_call`.
        works: what runs the engine, and may hold contexts of it.
    """

    def __init__(
        self,
        trt: Any,
        device: Device,
        path: Path,
        sha256: str,
        contract: GraphContract,
        entry: EngineEntry,
        fix: str,
    ) -> None:
        self.device, self.contract, self.entry, self.fix = device, contract, entry, fix
        self.stream = device.stream()
        self.lock = Lock()
        self._trt = trt
        self._log = log_of(trt.ILogger)
        self._errors_before = self._log.count
        self._runs = 0
        self._is_closed = False
        self.works = Opened()
        self._runtime = trt.Runtime(self._log)
        self._engine = self._read(path, sha256)
        _check_boundary(self._engine, contract, entry, path, fix)
        self._scratch: DeviceMemory | None = None
        self._shared: dict[int, Any] = {}
        self._jit: Jit | None = None
        if entry.library == "tensorrt_rtx":
            self._jit = Jit(
                trt, self._engine, f"{entry.key}-{device.properties.compute_capability}"
            )

    def require_open(self) -> None:
        """Raises `OmnijetError` if the backend was closed."""
        if self._is_closed:
            raise backend_closed(self.contract.name)

    def close(self) -> None:
        """Waits for the run that has begun, and lets go of the engine, its contexts and scratch
        memory. Compiled kernels are kept in their file.
        """
        with device_call(), self.lock:
            self._is_closed = True
            self.works.close()
            self._shared.clear()
            self._jit = self._scratch = self._engine = self._runtime = None

    def _read(self, path: Path, sha256: str) -> Any:
        """Deserialises the file. It is mapped, not copied: on a Jetson a copy would take memory
        that the device needs.
        """
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as plan:
                found = hashlib.sha256(plan).hexdigest()
                if found != sha256:
                    raise self._broken(path, f"sha256 {sha256[:16]}…", f"sha256 {found[:16]}…")
                engine = self._runtime.deserialize_cuda_engine(plan)
        except (OSError, ValueError) as error:
            raise self._broken(path, "an engine file", error) from error
        if engine is None:
            raise self._broken(path, "an engine that the library can read", self.last_error())
        return engine

    def _broken(self, path: Path, expected: object, got: object) -> OmnijetError:
        return OmnijetError(
            f"the engine of {self.contract.name} cannot be loaded",
            where=path, expected=expected, got=got, fix=self.fix,
        )  # fmt: skip

    def last_error(self) -> str:
        """Returns the library's last error, for messages. It was reported after this engine was
        read, though another engine may be the cause.
        """
        return self._log.errors[-1] if self._log.count > self._errors_before else "nothing was said"

    @property
    def captures_itself(self) -> bool:
        """Whether the library captures by itself. TensorRT-RTX does so within its contexts: it
        knows when the kernels that it compiles for a shape are ready, which a capture from outside
        would miss.
        """
        return self._jit is not None

    def shared_context(self, profile: int) -> Any:
        """Returns the context for work that is not captured."""
        if profile not in self._shared:
            self._shared[profile] = self.new_context(profile, captures=False)
        return self._shared[profile]

    def new_context(self, profile: int, captures: bool) -> Any:
        """Makes a context for a profile.

        Args:
            captures: whether the context captures what it runs, where the library does that.
        """
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._jit is None:
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._jit.context(strategy, captures)
        if context is None:
            raise self.failed("create_execution_context")
        if self._scratch is None:
            self._scratch = self.device.memory(self._engine.device_memory_size_v2)
        context.set_device_memory(self._scratch.address, self._scratch.size)
        if not context.set_optimization_profile_async(profile, self.stream.number):
            raise self.failed("set_optimization_profile_async")
        return context

    def configure(
        self,
        context: Any,
        shapes: Mapping[str, tuple[int, ...]],
        addresses: Mapping[str, int],
        outputs: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Makes a context ready to run with these shapes and addresses.

        Args:
            shapes: input shapes by name.
            outputs: the shapes that the outputs must have, whose buffers are no larger.
        """
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self.failed(f"set_input_shape of {name} to {list(shape)}")
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self.failed(f"set_tensor_address of {name}")
        if missing := context.infer_shapes():
            raise self.failed(f"infer_shapes: {', '.join(missing)} are unknown")
        for name, shape in outputs.items():
            if (found := tuple(context.get_tensor_shape(name))) != shape:
                raise self.failed(f"output {name} would be {list(found)}, not {list(shape)}")

    def execute(self, context: Any) -> None:
        """Puts a run on the stream."""
        if not context.execute_async_v3(self.stream.number):
            raise self.failed("execute_async_v3")

    def count_run(self) -> None:
        """Counts a run, after it was waited for, in the thread that waited."""
        self._runs += 1
        if self._jit is not None and self._runs in KEPT_AFTER:
            self._jit.keep()

    def failed(self, what: str) -> OmnijetError:
        """Returns the error of a call of the library that failed."""
        return OmnijetError(
            f"the engine of {self.contract.name} failed",
            where=what,
            got=self.last_error(),
            fix="if memory ran out: use smaller pictures, shorter clips, or engines built with "
            "smaller limits",
        )


def _check_boundary(
    engine: Any, contract: GraphContract, entry: EngineEntry, path: Path, fix: str
) -> None:
    """Checks the engine's real inputs, outputs and profiles against contract and manifest."""
    inputs: list[FoundTensor] = []
    outputs: list[FoundTensor] = []
    specs = {spec.name: spec for spec in (*contract.inputs, *contract.outputs)}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name).name
        axes = tuple(int(axis) for axis in engine.get_tensor_shape(name))
        found = FoundTensor(name, DTYPES.get(dtype, dtype), _symbols(specs.get(name), axes, entry))
        is_input = engine.get_tensor_mode(name).name == "INPUT"
        (inputs if is_input else outputs).append(found)
    verify(contract, inputs, outputs, path, fix)
    if engine.num_optimization_profiles != len(entry.profiles):
        raise _other_profiles(contract, path, fix, len(entry.profiles),
                              engine.num_optimization_profiles)  # fmt: skip
    for number, profile in enumerate(entry.profiles):
        for spec in contract.inputs:
            if -1 not in tuple(engine.get_tensor_shape(spec.name)):
                continue
            wanted = [spec.shape({s: size[i] for s, size in profile.items()}) for i in range(3)]
            shapes = engine.get_tensor_profile_shape(spec.name, number)
            got = [tuple(int(axis) for axis in shape) for shape in shapes]
            if got != wanted:
                raise _other_profiles(contract, path, fix, f"{spec.name} {wanted}", got)


def _symbols(
    spec: TensorSpec | None, axes: tuple[int, ...], entry: EngineEntry
) -> tuple[int | str | None, ...]:
    """Names an engine's axes as the contract does, where they agree with it: an axis is a symbol if
    its size changes, or if it has the one size that every profile gives the symbol.
    """
    found: list[int | str | None] = [None if axis < 0 else axis for axis in axes]
    if spec is not None and len(spec.axes) == len(axes):
        for place, (axis, size) in enumerate(zip(spec.axes, axes, strict=True)):
            if not isinstance(axis, str):
                continue
            factor, symbol = split_axis(axis)
            only = {size for profile in entry.profiles for size in profile.get(symbol, ())}
            if size < 0 or only == {size // factor}:
                found[place] = axis
    return tuple(found)


def _other_profiles(
    contract: GraphContract, path: Path, fix: str, expected: object, got: object
) -> OmnijetError:
    return OmnijetError(
        f"the engine of {contract.name} has other profiles than the manifest says",
        where=path, expected=expected, got=got, fix=fix,
    )  # fmt: skip
