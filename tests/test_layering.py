"""Imports follow the order of rooms, wrong names say the right one, `import omnijet` is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layering import (
    HEAVY,
    ORDER,
    RANKS,
    ROOT,
    circles,
    modules,
    order_faults,
    room_of,
    unused_permissions,
)
from tests.neighbour import write_neighbour

FOLDERS = ("runtime", "export", "engines", "quantization", "nano", "deployment")


def test_every_import_goes_down_and_is_allowed() -> None:
    assert not order_faults(modules())


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert not circles(modules())


def test_the_list_allows_nothing_that_is_not_used() -> None:
    assert not unused_permissions(modules())


def test_the_list_is_one_order() -> None:
    assert sum(len(row) for row in ORDER) == len(RANKS)
    found = modules()
    assert {f"omnijet.{folder}" for folder in FOLDERS} < set(found) and "tools.demo" in found
    assert room_of("omnijet.runtime.talk.reply") is not None
    assert room_of("omnijet.runtime.new_folder.module") is None


# -- the test itself ----------------------------------------------------------------


def planted(root: Path, **sources: str) -> dict[str, Path]:
    """Writes modules, `a__b` for omnijet/runtime/a/b.py, and reads the folder as a checkout."""
    for name, source in sources.items():
        path = (root / "omnijet" / "runtime").joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return modules(root)


@pytest.mark.parametrize(
    "source",
    [
        "import omnijet.runtime.talk.reply",
        "from omnijet.runtime.talk import reply",
        "from omnijet.runtime.talk.reply import Reply",
        "def f():\n    from omnijet.runtime.talk import reply",
        "if TYPE_CHECKING:\n    from omnijet.runtime.talk.reply import Reply",
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, source: str) -> None:
    found = planted(tmp_path, media__wav=source, talk__reply="import omnijet.runtime.media.wav")
    (fault,) = order_faults(found)
    assert fault.startswith("omnijet.runtime.media.wav:")
    assert "omnijet.runtime.talk is not below omnijet.runtime.media" in fault


def test_rooms_of_one_row_do_not_import_each_other(tmp_path: Path) -> None:
    found = planted(tmp_path, model__rope="import omnijet.runtime.prompt.chat", prompt__chat="")
    assert "omnijet.runtime.prompt is not below omnijet.runtime.model" in order_faults(found)[0]


@pytest.mark.parametrize("source", ["import torch", "def f():\n    from torch.nn import Module"])
def test_a_forbidden_package_is_found(tmp_path: Path, source: str) -> None:
    (fault,) = order_faults(planted(tmp_path, media__wav=source))
    assert "torch" in fault and "['PIL', 'av', 'numpy', 'soundfile', 'soxr'] only" in fault


def test_a_room_that_loads_torch_is_closed_to_those_without(tmp_path: Path) -> None:
    found = planted(tmp_path)
    for name in ("export/trace/tracer", "engines/build"):
        path = (tmp_path / "omnijet" / name).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import omnijet.export.trace.tracer" if "build" in name else "")
    found = modules(tmp_path)
    (fault,) = order_faults(found)
    assert "omnijet.export.trace may load" in fault and "'torch'" in fault


def test_a_module_without_a_room_is_found(tmp_path: Path) -> None:
    (fault,) = order_faults(planted(tmp_path, cellar__wine=""))
    assert fault == "omnijet.runtime.cellar.wine has no room in tests/layering.py"


def test_a_module_that_does_not_exist_is_found(tmp_path: Path) -> None:
    (fault,) = order_faults(planted(tmp_path, media__wav="import omnijet.runtime.bundle.gone"))
    assert "there is no such module" in fault


def test_a_circle_is_found_in_one_room_too(tmp_path: Path) -> None:
    found = planted(
        tmp_path,
        media__a="from omnijet.runtime.media import b",
        media__b="def f():\n    from omnijet.runtime.media.c import C",
        media__c="if TYPE_CHECKING:\n    import omnijet.runtime.media.a",
        media__d="import omnijet.runtime.media.a",
    )
    assert not order_faults(found)
    assert circles(found) == [[f"omnijet.runtime.media.{name}" for name in "abc"]]


# -- one name -----------------------------------------------------------------------


def python(statement: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a statement from the root of the checkout, where the folders lie."""
    return subprocess.run(
        [sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, check=check
    )


@pytest.mark.parametrize(
    "name", [*FOLDERS, "runtime.talk.reply", "export.stages", "engines.targets.target"]
)
def test_a_folder_is_no_import_name(name: str) -> None:
    done = python(f"import {name}", check=False)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert said.startswith("ImportError: ") and f"omnijet.{name.split('.')[0]}" in said


def test_ruff_refuses_the_folders_as_import_names(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("".join(f"import {name}.x\n" for name in FOLDERS))
    command = [
        sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml",
        "--select", "TID251", "--output-format", "concise", path,
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    for line, name in enumerate(FOLDERS, 1):
        assert f"x.py:{line}:" in shown and f"omnijet.{name}" in shown


def test_omnijet_works_beside_files_with_the_names_of_its_folders(
    nano: tuple[Path, Path], tmp_path: Path
) -> None:
    script = write_neighbour(tmp_path)
    done = subprocess.run(
        [sys.executable, script, nano[1]],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"home": str(ROOT / "omnijet"), "spoken": True}


# -- weight -------------------------------------------------------------------------


def loaded_after(statement: str) -> set[str]:
    shown = python(f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))").stdout
    names = json.loads(shown.splitlines()[-1])
    return {".".join(name.split(".")[:count]) for name in names for count in (1, 2)}


@pytest.mark.parametrize("module", ["omnijet.runtime.omni", "omnijet.runtime.commands.run"])
def test_the_whole_runtime_loads_without_heavy_packages(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert "omnijet.runtime" in loaded
    assert not loaded & (HEAVY | {f"omnijet.{folder}" for folder in FOLDERS[1:]})


def test_importing_omnijet_is_quick_and_light() -> None:
    assert "numpy" not in loaded_after("import omnijet")
    code = "import time; t = time.perf_counter(); import omnijet; print(time.perf_counter() - t)"
    assert min(float(python(code).stdout) for _ in range(3)) < 0.5
