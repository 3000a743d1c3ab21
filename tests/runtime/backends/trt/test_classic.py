"""Everything that the backend and the builder call exists in the TensorRT of every platform, not
only in TensorRT-RTX: names, parameters and values of the real bindings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.classic import VERSIONS, classic_environment
from tests.engines.test_worker import ASKED
from tests.runtime.backends.trt import library
from tests.runtime.backends.trt.test_signatures import ATTRIBUTES, CLASSES, ENUMS, methods

ROOT = Path(__file__).parents[4]
OF_RTX = {"IRuntimeConfig", "IRuntimeCache", "CudaGraphStrategy"}
AHEAD = {"set_compute_capability", "num_compute_capabilities"}
"""Names that only TensorRT-RTX has, because it builds for a GPU that is not here; the worker checks
for them first."""
SINCE_10_4 = {"build_serialized_network_to_stream", "IStreamWriter"}
"""Names that the worker checks for first, too."""
SINCE_10_14 = {"IAttentionInputLayer", "IAttention"}
"""Names that are used only where a network has such a layer."""


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    version: str = request.param
    environment = classic_environment(version, tmp_path_factory.mktemp("bindings"))
    return {"version": version, "environment": os.environ | environment}


def real(bindings: dict[str, Any], *names: str) -> dict[str, Any]:
    script = Path(__file__).parent / "signatures.py"
    done = subprocess.run(
        [sys.executable, str(script), *names], capture_output=True, text=True,
        env=bindings["environment"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_the_backend_calls(bindings: dict[str, Any]) -> None:
    ours = {
        f"classic:{owner.__name__}.{name}": parameters
        for owner in CLASSES
        if owner.__name__ not in OF_RTX
        for name, parameters in methods(owner).items()
        if name != "create_runtime_config"
    }
    found = real(bindings, *ours)
    wrong = {name: (p, found[name]) for name, p in ours.items() if p not in (found[name] or [])}
    assert len(ours) > 12 and not wrong


def test_what_the_backend_reads(bindings: dict[str, Any]) -> None:
    of_engines = [f"classic:ICudaEngine.{name}" for name in ATTRIBUTES["ICudaEngine"]]
    assert real(bindings, *of_engines) == dict.fromkeys(of_engines, "property")
    ours = {
        f"classic:{enum.__name__}={one.name}": one.value
        for enum in ENUMS["trt"]
        if enum.__name__ not in OF_RTX
        for one in enum
    }
    ours |= {f"classic:ILogger.Severity={one.name}": one.value for one in library.Severity}
    assert real(bindings, *ours) == ours


def test_what_the_builder_calls(bindings: dict[str, Any]) -> None:
    version = tuple(int(part) for part in bindings["version"].split(".")[:2])
    left_out = set(AHEAD)
    left_out |= SINCE_10_4 if version < (10, 4) else set()
    left_out |= SINCE_10_14 if version < (10, 14) else set()
    names = [
        f"classic:{owner}.{name}"
        for owner, every in ASKED.items()
        if owner not in left_out
        for name in every
        if name not in left_out
    ]
    missing = [name for name, found in real(bindings, *names).items() if found is None]
    assert len(names) > 15 and not missing


def test_classes_derived_from_the_library_can_be_instantiated(bindings: dict[str, Any]) -> None:
    """The library calls our objects: a logger, a progress monitor and, where it has one, a stream
    writer.
    """
    code = (
        "import io, tensorrt as trt\n"
        "from omnijet.engines import worker\n"
        "from omnijet.runtime.backends.trt.log import log_of\n"
        "log_of(trt.ILogger).log(trt.ILogger.Severity.ERROR, 'said')\n"
        "assert list(log_of(trt.ILogger).errors) == ['said']\n"
        "file = io.StringIO()\n"
        "worker.logger(trt, file).log(trt.ILogger.Severity.INFO, 'done')\n"
        "assert file.getvalue() == 'INFO: done\\n'\n"
        "worker.progress_monitor(trt).phase_start('building', None, 3)\n"
        "if hasattr(trt, 'IStreamWriter'):\n"
        "    assert worker.writer(trt, io.BytesIO()).write(b'engine') == 6\n"
        "1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)\n"
        "trt.ProfilingVerbosity.DETAILED, trt.LayerInformationFormat.JSON\n"
        "trt.ExecutionContextAllocationStrategy.USER_MANAGED\n"
    )
    environment = bindings["environment"]
    environment |= {"PYTHONPATH": f"{environment['PYTHONPATH']}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
