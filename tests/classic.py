"""The real Python bindings of TensorRT, in versions that platforms ship, on any machine.

The package index has the bindings without the libraries that they need. Stub libraries, which
define the nine functions and do nothing, make the bindings importable. That shows which classes,
methods, parameters and values exist; nothing can be built or run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

VERSIONS: Mapping[str, str] = {
    "10.3.0": "cu12",  # JetPack 6.2
    "10.13.3.9": "cu13",  # JetPack 7.0
    "10.15.1.29": "cu13",  # the oldest that takes graphs as they are
    "10.16.1.11": "cu13",  # JetPack 7.2
    "11.4.0.106": "cu13",  # the newest
}
"""Versions of TensorRT, and the CUDA version in the name of their bindings."""


def classic_environment(version: str, folder: Path) -> dict[str, str]:
    """Returns environment variables for a process that imports this version of tensorrt.

    Skips the test without the bindings or a C compiler.
    """
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: gcc")
    name = f"tensorrt-{VERSIONS[version]}-bindings=={version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "-d", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        pytest.skip(f"{name} could not be downloaded: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        module = Path(wheel.extract("tensorrt_bindings/tensorrt.so", folder))
    code = folder / "nothing.c"
    code.write_text("".join(f"long {name}(void) {{ return 0; }}\n" for name in asked_of(module)))
    for library in libraries_of(module):
        link = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        subprocess.run([*link, str(code)], check=True)
    return {"PYTHONPATH": str(module.parent), "LD_LIBRARY_PATH": str(folder)}


def libraries_of(module: Path) -> list[str]:
    """Returns the NVIDIA libraries that the bindings are linked with."""
    found = re.findall(rb"\0(libnv\w+\.so\.\d+)(?=\0)", module.read_bytes())
    return sorted({name.decode() for name in found})


def asked_of(module: Path) -> list[str]:
    """Returns the functions that the bindings need from these libraries."""
    wanted = rb"\0(create\w+_INTERNAL|get\w*PluginRegistry|getNvOnnxParserVersion|initLib\w+)(?=\0)"
    return sorted({name.decode() for name in re.findall(wanted, module.read_bytes())})
