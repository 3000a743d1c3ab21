"""TensorRT and TensorRT-RTX: the library, its Python bindings, and whether they fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omnijet.runtime.doctor.finding import Finding, fault, note, ok
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.library import Library
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.machine.ways import rtx_runs

JETPACK = "sudo apt install nvidia-jetpack"
FOLDERS = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib64")
BINDINGS = "usr/lib/python3*/dist-packages/tensorrt/__init__.py"
"""Where JetPack, and NVIDIA's Debian packages, put the bindings of the system's Python."""
_LIBRARY = re.compile(r"libnvinfer\.so\.(\d+\.\d+\.\d+)")
RTX = "omnijet[rtx]"


def tensorrt_library(here: Here) -> Finding | None:
    """Says which TensorRT is installed for all programs; a Jetson has JetPack's."""
    found = installed(here)
    if found:
        return ok(f"TensorRT {found[-1]}")
    if here.platform.is_jetson:
        return fault("JetPack's TensorRT is not installed", JETPACK)
    return None


def tensorrt_bindings(here: Here) -> Finding | None:
    """Says whether this interpreter can load TensorRT."""
    found = here.libraries("tensorrt")
    if found.missing:
        return _unseen(here) if here.platform.is_jetson else None
    if not found.works:
        return fault(f"TensorRT does not load: {found.error}", _again(here, found), _private(here))
    loaded = str(found.facts.get("loaded") or found.version)
    if _release(loaded) != _release(found.version):
        return fault(f"bindings {found.version} have loaded TensorRT {loaded}",
                     _again(here, found), _private(here))  # fmt: skip
    return ok(f"TensorRT {found.version} in Python")


def tensorrt_match(here: Here) -> Finding | None:
    """Says whether a Jetson's bindings are those of its TensorRT, and not of another package."""
    found, there = here.libraries("tensorrt"), installed(here)
    if not (here.platform.is_jetson and found.works and there):
        return None
    if _release(found.version) in {_release(one) for one in there}:
        return ok(f"bindings and library are {_release(found.version)}")
    return fault(f"bindings {found.version} from {', '.join(found.packages) or 'elsewhere'} hide "
                 f"those of JetPack's TensorRT {there[-1]}",
                 _again(here, found), _private(here))  # fmt: skip


def tensorrt_rtx(here: Here) -> Finding | None:
    """Says whether a workstation has TensorRT-RTX, which builds and runs engines of its card."""
    found = here.libraries("tensorrt_rtx")
    if here.platform.is_jetson:
        return None
    install = here.install.pip("install", RTX)
    if found.missing:
        if not rtx_runs(here.platform):
            return None
        return note("TensorRT-RTX is not here, which builds and runs engines on this card",
                    install, here.install.private)  # fmt: skip
    again = here.install.pip("install", "--force-reinstall", RTX)
    if not found.works:
        return fault(f"TensorRT-RTX does not load: {found.error}", again, here.install.private)
    loaded = str(found.facts.get("loaded") or found.version)
    if _release(loaded) != _release(found.version):
        return fault(f"bindings {found.version} have loaded TensorRT-RTX {loaded}", again,
                     here.install.private)  # fmt: skip
    return ok(f"TensorRT-RTX {found.version} in Python")


def installed(here: Here) -> list[str]:
    """Returns the versions of the libraries of TensorRT among the system's files, oldest first."""
    return sorted(set(_versions(here)), key=lambda text: [int(part) for part in text.split(".")])


def _versions(here: Here) -> Iterator[str]:
    for folder in FOLDERS:
        for path in (here.root / folder).glob("libnvinfer.so.*"):
            if found := _LIBRARY.fullmatch(path.name):
                yield found.group(1)


def _unseen(here: Here) -> Finding:
    """Says why an interpreter of a Jetson finds no bindings of TensorRT."""
    pythons = [path.parent.parent.parent.name for path in here.root.glob(BINDINGS)]
    ours = "python{}.{}".format(*here.platform.python)
    if not pythons:
        return fault("JetPack's Python bindings of TensorRT are not installed", JETPACK)
    # JetPack 7 has them in python3, which every Python 3 of the system reads
    named = [python for python in pythons if python != "python3"] or [ours]
    if ours in named:
        return fault("JetPack's TensorRT is for this Python, and its virtual environment does not "
                     "see it: it was made without --system-site-packages",
                     f"/usr/bin/{ours} -m venv --system-site-packages "
                     f"{shell_quoted(here.install.prefix)}", here.install.private)  # fmt: skip
    return fault(f"JetPack's TensorRT is for {' and '.join(named)}, and this is {ours}: it can "
                 "never load it",
                 f"/usr/bin/{named[-1]} -m venv --system-site-packages omnijet-env && "
                 'omnijet-env/bin/pip install "omnijet[gpu]"')  # fmt: skip


def _again(here: Here, found: Library) -> str:
    """Returns the line that mends bindings."""
    if here.platform.is_jetson and found.packages:
        return here.install.pip("uninstall", "-y", *found.packages)
    if here.platform.is_jetson or not found.packages:
        newest = installed(here)[-1:] or ["10"]
        return f"sudo apt install --reinstall python3-libnvinfer libnvinfer{_major(newest[0])}"
    return here.install.pip("install", "--force-reinstall", *found.packages)


def _private(here: Here) -> tuple[str, ...]:
    return here.install.private


def _release(version: str) -> str:
    """Returns the first three numbers of a version: `10.3.0.30` -> `10.3.0`."""
    return ".".join(version.split(".")[:3])


def _major(version: str) -> str:
    return version.split(".")[0]
