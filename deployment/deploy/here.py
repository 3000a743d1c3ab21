"""This machine: what of a deployment can be done on it."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass

from omnijet.engines.targets.target import Target
from omnijet.runtime.machine.platform import Platform, this_platform

ELSEWHERE = "OMNIJET_TRT_PYTHON"
"""Names another interpreter that has the bindings (`omnijet.engines.process`)."""
RTX_BINDINGS = "tensorrt_rtx_bindings"


@dataclass(frozen=True, slots=True)
class Here:
    """A machine.

    Attributes:
        has_rtx: whether TensorRT-RTX can be imported, or an interpreter that has it is named.
    """

    name: str
    platform: Platform
    has_rtx: bool

    @staticmethod
    def read() -> Here:
        found = ELSEWHERE in os.environ or importlib.util.find_spec(RTX_BINDINGS) is not None
        return Here(platform.node() or "this machine", this_platform(), found)

    def cannot_build(self, target: Target) -> str | None:
        """Returns why the engines of a target cannot be built here; None: they can."""
        if target.library == "onnxruntime":
            return None
        if target.library == "tensorrt_rtx":
            return None if self.has_rtx else "TensorRT-RTX is not installed here"
        return self._no_such_gpu(target, "TensorRT builds on the device itself")

    def cannot_run(self, target: Target) -> str | None:
        """Returns why the bundle cannot be measured here; None: it can."""
        if target.device.name == "cpu":
            return None
        if target.compute_capability is None:
            return None if self.platform.gpu is not None else "there is no GPU here"
        return self._no_such_gpu(target, "engines run on the GPU that they are for")

    def _no_such_gpu(self, target: Target, rule: str) -> str | None:
        found, wanted = self.platform.compute_capability, target.compute_capability
        if found == wanted:
            return None
        what = "no GPU" if self.platform.gpu is None else f"{self.platform.gpu}"
        what += "" if found is None else f", SM{found}"
        return f"{rule}: SM{wanted} is wanted, and there is {what}"
