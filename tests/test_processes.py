"""One module starts processes of Python; who starts a tool is listed here, and in SECURITY.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.layering import modules

START = "omnijet.runtime.child.start"
TOOLS = {
    "omnijet.runtime.profiling.jetson", "omnijet.nano.world.speech",
    "omnijet.deployment.deploy.remote.ssh", "omnijet.deployment.deploy.remote.copy",
}  # fmt: skip
"""Modules that run a tool that the machine has."""
NAMES_AN_INTERPRETER = {START, "omnijet.engines.process", "omnijet.engines.library"}
STARTERS = {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
OF_OS = ("exec", "fork", "posix_spawn", "spawn", "system", "popen", "startfile")


def faults(module: str, source: str) -> list[str]:
    """Returns one line for each place that starts a process as this module may not."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="subprocess"), attr=name) if name in STARTERS:
                called = module in {START, *TOOLS}
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name.startswith(OF_OS):
                called = False
            case ast.Attribute(value=ast.Name(id="sys"), attr="executable" as name):
                called = module in NAMES_AN_INTERPRETER
            case ast.Import(names=names) if any("multiprocessing" in one.name for one in names):
                called, name = False, "multiprocessing"
            case ast.ImportFrom(module=str(name), names=names) if name.startswith(
                ("subprocess", "multiprocessing")
            ) or any("ProcessPool" in one.name for one in names):
                called = False
            case _:
                continue
        if not called:
            found.append(f"{module}:{node.lineno}: {name}")
    return found


def test_nobody_else_starts_a_process() -> None:
    found = []
    for module, path in modules().items():
        if module.startswith("omnijet"):
            found += faults(module, path.read_text(encoding="utf-8"))
    # a Popen as a type is none that is started
    assert not [one for one in found if not _is_type_only(one)]


def _is_type_only(fault: str) -> bool:
    module, line, name = fault.split(":")
    text = modules()[module].read_text(encoding="utf-8").splitlines()[int(line) - 1]
    return name.strip() == "Popen" and "subprocess.Popen[" in text


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess\nsubprocess.run(['x'])",
        "import subprocess\nstart = subprocess.Popen",
        "from subprocess import run",
        "import multiprocessing",
        "from multiprocessing import get_context",
        "from concurrent.futures import ProcessPoolExecutor",
        "import os\nos.fork()",
        "import os\nos.execv('x', [])",
        "import sys\nprint(sys.executable)",
    ],
)
def test_a_way_around_it_is_found(source: str) -> None:
    assert faults("omnijet.runtime.media.wav", source)


def test_the_folder_of_the_first_file_holds_no_name_of_another_module() -> None:
    import sys

    folder = modules()[START].parent
    assert not {path.stem for path in Path(folder).iterdir()} & set(sys.stdlib_module_names)
