"""The real Python bindings of TensorRT, in versions that platforms ship, on any machine.

The package index has the bindings, but not the libraries beneath them. Libraries that define their
nine functions and do nothing let the bindings be imported: enough to see which classes, methods,
parameters and values there are. Nothing can be built or run so.
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
"""Of TensorRT, and the CUDA that its bindings are named after."""


def classic_environment(version: str, folder: Path) -> dict[str, str]:
    """Variables with which a Python process can `import tensorrt`, of this version.

    Skips the test if the bindings cannot be had, or there is no C compiler.
    """
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: gcc")
    name = f"tensorrt-{VERSIONS[version]}-bindings=={version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "-d", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        pytest.skip(f"{name} cannot be had: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        module = Path(wheel.extract("tensorrt_bindings/tensorrt.so", folder))
    code = folder / "nothing.c"
    code.write_text("".join(f"long {name}(void) {{ return 0; }}\n" for name in asked_of(module)))
    for library in libraries_of(module):
        link = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        subprocess.run([*link, str(code)], check=True)
    return {"PYTHONPATH": str(module.parent), "LD_LIBRARY_PATH": str(folder)}


def libraries_of(module: Path) -> list[str]:
    """NVIDIA's, that it is linked with."""
    found = re.findall(rb"\0(libnv\w+\.so\.\d+)(?=\0)", module.read_bytes())
    return sorted({name.decode() for name in found})


def asked_of(module: Path) -> list[str]:
    """Functions that it wants from them."""
    wanted = rb"\0(create\w+_INTERNAL|get\w*PluginRegistry|getNvOnnxParserVersion|initLib\w+)(?=\0)"
    return sorted({name.decode() for name in re.findall(wanted, module.read_bytes())})
