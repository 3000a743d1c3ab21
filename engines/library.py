"""Finds the library that builds engines, its version, and the GPUs that it builds for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from omnijet.engines.process import ORT_WORKER, PYTHON_VARIABLE, WORKER, Died, run_worker
from omnijet.engines.targets.chosen import LIST_COMMAND
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.backends.trt.library import TITLES, findable
from omnijet.runtime.bundle.manifest import Library
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine import ways
from omnijet.runtime.machine.platform import Platform, this_platform


def how_to_get(library: Library, platform: Platform) -> str:
    """Returns how to get a library on a machine."""
    if library == "onnxruntime":
        return "`pip install -U onnxruntime`, or name an interpreter that has it with --python"
    get = ways.tensorrt if library == "tensorrt" else ways.tensorrt_rtx
    return f"{get(platform)}. --python or {PYTHON_VARIABLE} names another interpreter that has it"


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed library and the interpreter that has its bindings.

    Attributes:
        ahead: compute capabilities that the library builds for without such a GPU.
        here: compute capability of this machine's GPU; None: there is no GPU.
    """

    library: Library
    python: str
    version: str
    ahead: tuple[int, ...]
    here: int | None


def find_library(library: Library, python: str) -> Installed:
    """Asks an interpreter for a library.

    Raises:
        OmnijetError: the library is not installed; the error says how to get it.
    """
    try:
        worker = ORT_WORKER if library == "onnxruntime" else WORKER
        verdict = run_worker(python, {"do": "probe", "library": library}, worker=worker)
        said = verdict.get("said", [])
    except (Died, OSError) as error:
        raise OmnijetError(
            f"the interpreter for {TITLES[library]} does not run",
            where=python,
            got=error.said if isinstance(error, Died) else os.strerror(error.errno or 0),
            fix=f"name another with --python or {PYTHON_VARIABLE}",
        ) from error
    if not verdict["done"]:
        raise OmnijetError(
            f"{TITLES[library]} is not installed here",
            where="this interpreter" if python == sys.executable else python,
            expected="its Python bindings",
            got="; ".join(said),
            fix=how_to_get(library, this_platform()),
        )
    return Installed(library, python, verdict["version"], tuple(verdict["ahead"]), verdict["here"])


def fitting(target: Target, installed: Installed) -> Target:
    """Returns the target itself, or that of the same device for a library as old as this one."""
    here = _major_minor(installed.version)
    older = (
        other
        for other in TARGETS.values()
        if (other.device, other.library) == (target.device, target.library)
        and other.toolkit.oldest <= here < target.toolkit.oldest
    )
    return next(older, target)


def own_lack(installed: Installed, platform: Platform) -> str | None:
    """Returns what this interpreter lacks to run the engines that another one builds.

    Returns:
        One line with the environment that can; None: this one can, or ONNX Runtime builds.
    """
    if installed.library == "onnxruntime":
        return None
    if not findable(installed.library):
        how = ways.tensorrt if installed.library == "tensorrt" else ways.tensorrt_rtx
        lack, get = TITLES[installed.library], how(platform)
    elif not findable("cuda"):
        lack, get = "the CUDA runtime for Python", ways.cuda_python(platform)
    else:
        return None
    version = ".".join(map(str, platform.python))
    return f"this Python {version} cannot run what is built here, for it lacks {lack}. {get}"


def require_able(installed: Installed, target: Target) -> None:
    """Checks that the library can build for a target on this machine. Raises `OmnijetError`."""
    title, wanted = TITLES[installed.library], target.compute_capability
    oldest = ".".join(map(str, target.toolkit.oldest))
    if _major_minor(installed.version) < target.toolkit.oldest:
        raise OmnijetError(
            f"this {title} is older than the target's",
            where=f"target {target.name}",
            expected=f"{oldest} or newer, for the operators of the graphs",
            got=installed.version,
            fix=how_to_get("onnxruntime", this_platform())
            if installed.library == "onnxruntime"
            else f"choose a target of this version (`{LIST_COMMAND}`), or --target auto",
        )
    if installed.library == "onnxruntime":
        return  # a processor, or any GPU
    if installed.library == "tensorrt_rtx":
        if wanted not in installed.ahead:
            raise OmnijetError(
                f"{title} does not build for this GPU",
                where=f"target {target.name}",
                expected="one of " + ", ".join(f"SM{one}" for one in installed.ahead),
                got=f"SM{wanted}",
                fix="choose a target of TensorRT, and build on the device itself",
            )
    elif installed.here != wanted:
        raise OmnijetError(
            "TensorRT builds on the device itself",
            where=f"target {target.name}",
            expected=f"a GPU of SM{wanted} in this machine",
            got="no GPU" if installed.here is None else f"SM{installed.here}",
            fix=f"copy the bundle to {target.device.title} and run the command there; "
            "here, --dry-run shows what it will do",
        )


def _major_minor(version: str) -> tuple[int, ...]:
    """Returns the major and minor version: `"10.3.0.30"` -> (10, 3)."""
    return tuple(int(part) for part in version.split(".")[:2])
