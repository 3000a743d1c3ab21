"""No process that this package starts imports a module of the folder that it is started in."""

from __future__ import annotations

import json
import operator
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnijet.engines.process import run_worker
from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.tokenizer_file import read_tokenizer
from omnijet.export.synthetic.presets import preset
from omnijet.export.trace.process import traced_graphs
from omnijet.quantization.budget.parallel import processes, ray_cluster
from omnijet.runtime.child.search_path import HOME, leave_current_folder, safe_entries
from omnijet.runtime.child.start import MAIN, environment, start
from tests.runtime.child.planted import NAMES, plant

SHOW = "import json, sys\nprint(json.dumps(sys.path))\n"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a folder with planted modules the current one, which is on this process's path.

    It returns the file that the modules would write.
    """
    folder = tmp_path / "planted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f":{os.environ.get('PYTHONPATH', '')}:.:{folder}")
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(folder)])
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return plant(folder)


def test_the_pool_of_trials(mark: Path) -> None:
    with processes(2) as run:
        assert dict(run(operator.neg, [1, 2])) == {0: -1, 1: -2}
    assert not mark.exists()


def test_the_cluster_of_trials(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    mark = request.getfixturevalue("mark")
    leave_current_folder()  # as the command does
    with ray_cluster("local") as run:
        assert dict(run(operator.neg, [1, 2])) == {0: -1, 1: -2}
        ((_, path),) = run(_path, [0])
        assert not os.listdir(path[0])
    assert not mark.exists() and str(Path.cwd()) not in path and "" not in path


def _path(given: object) -> list[str]:
    return [os.getcwd(), *sys.path]


def test_the_tracer(mark: Path, tmp_path: Path) -> None:
    dims = read_dims(preset("nano"), None, "nano")
    with traced_graphs(["vision_encoder"], dims, "f32", tmp_path) as arriving:
        assert [name for name, _ in arriving] == ["vision_encoder"]
    assert not mark.exists()


def test_the_trial_of_a_tokenizer(mark: Path) -> None:
    read_tokenizer(Path(HOME, "omnijet", "nano", "checkpoint", "tokenizer.json"))
    assert not mark.exists()


@pytest.mark.parametrize("in_it", [False, True])
def test_the_worker_of_builds(mark: Path, in_it: bool) -> None:
    job = {"do": "probe", "library": "tensorrt"}
    assert run_worker(sys.executable, job, folder=Path.cwd() if in_it else None)["verdict"]
    assert not mark.exists()


def test_the_command_itself(mark: Path) -> None:
    """Python loads `runpy` and some more before any line of a package runs with `-m`."""
    code = "import runpy, sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    for name in NAMES:
        if name in {"omnijet", "pkgutil", *shown.stdout.split()}:
            Path(f"{name}.py").unlink()
    for command in (["--version"], ["check", "nothing"], ["run", "nothing"], ["export", "a", "b"]):
        done = subprocess.run(
            [sys.executable, "-m", "omnijet", *command],
            env={**os.environ, "PYTHONPATH": HOME}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
    assert not mark.exists()


# -- the way of starting --------------------------------------------------------------


def test_without_a_safe_path_the_own_folder_is_not_seen_either(mark: Path, tmp_path: Path) -> None:
    """As in Python 3.10, which reads no PYTHONSAFEPATH."""
    beside, script = tmp_path / "beside", tmp_path / "elsewhere" / "script.py"
    beside.mkdir(), script.parent.mkdir()
    plant(beside), plant(script.parent)
    shutil.copy(MAIN, beside / "main.py")
    script.write_text(SHOW)
    surroundings = {**environment(), "PYTHONSAFEPATH": ""}
    done = subprocess.run(
        [sys.executable, beside / "main.py", str(os.getpid()), script],
        env=surroundings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)
    assert not {"", str(Path.cwd()), str(beside), str(script.parent)} & set(seen)
    assert not [*tmp_path.glob("*.mark")]


def test_another_interpreter_gets_the_users_path_alone(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}:..:no-such-folder:.:{tmp_path}")
    found = environment(is_own=False)
    assert found["PYTHONPATH"] == str(tmp_path) and found["PYTHONSAFEPATH"] == "1"
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:")
    assert "PYTHONPATH" not in environment(is_own=False)


def test_the_current_folder_is_left(mark: Path) -> None:
    leave_current_folder()
    assert "" not in sys.path and str(Path.cwd()) not in sys.path


def test_it_stays_where_omnijet_lies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    leave_current_folder()
    assert sys.path[0] == ""
    assert safe_entries(["", HOME, HOME]) == [HOME] and not safe_entries([HOME], keep_home=False)


def test_a_folder_with_a_colon_in_its_name_does_not_become_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a:b").mkdir()
    assert safe_entries([str(tmp_path / "a:b"), str(tmp_path)]) == [str(tmp_path)]


def test_a_folder_that_is_gone_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert safe_entries(["", str(tmp_path)]) == [str(tmp_path)]


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    sleeper, starter = tmp_path / "sleeper.py", tmp_path / "starter.py"
    sleeper.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    starter.write_text(
        "import os, signal, subprocess, sys\n"
        f"from {start.__module__} import start\n"
        f"child = start({str(sleeper)!r}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, starter], env={**os.environ, "PYTHONPATH": HOME},
        capture_output=True, text=True,
    )  # fmt: skip
    child, deadline = Path("/proc", done.stdout.strip()), time.monotonic() + 60
    while child.exists() and (child / "stat").read_text().split(")")[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
