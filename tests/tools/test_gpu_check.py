"""The GPU check without a GPU: comparisons find faults, parts fail alone, the table is complete."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from omnijet import cli
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_gpu.providers import PROVIDERS
from omnijet.runtime.backends.trt.device import DeviceProperties
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.omni import Omni
from tests.runtime.backends.trt.engines import machine, with_engines
from tests.runtime.backends.trt.gpu import Cuda, Gpu
from tools.gpu_check import cuda as cuda_module
from tools.gpu_check import parity as parity_module
from tools.gpu_check import parts as parts_module
from tools.gpu_check import ways as ways_module
from tools.gpu_check.parity import LIMIT_DB, Reference, call_us, compare
from tools.gpu_check.parts import (
    ASKED,
    GRAPHS,
    PEER,
    Outcome,
    Part,
    full_parts,
    nano_parts,
    run_all,
)
from tools.gpu_check.report import markdown
from tools.gpu_check.ways import Way, find_gpu, ways

ROOT = Path(__file__).parents[2]
CUDA, ORIN = Way("--provider", "cuda"), Way("--engines", "orin-nx")


def test_without_a_gpu_it_says_why_and_is_content() -> None:
    if not isinstance(find_gpu(), str):
        pytest.skip("there is a GPU here")
    command = [sys.executable, "-m", "tools.gpu_check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("SKIPPED: no NVIDIA driver")


def test_parity_of_every_graph(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """The engines are doubles; a spoilt one is found."""
    bundle = with_engines(trained[1], tmp_path / "bundle")
    with machine() as made:
        ours = Omni.open(bundle, engines="orin-nx")
        theirs = Omni.open(bundle, backend=OrtBackend(1))
        for name in GRAPHS:
            worst = compare(ours.model.graph(name), Reference.of(theirs.model.graph(name)))
            assert set(worst) == {
                spec.name for spec in ours.model.graph(name).contract.outputs
                if spec.name not in {pair.output for pair in ours.model.graph(name).contract.state}
            }  # fmt: skip
            assert min(worst.values()) > LIMIT_DB["f32"], (name, worst)
        assert made.gpu.calls["cudaGraphLaunch"] > 10, "captured calls are among those compared"
        assert call_us(ours.model.graph("vocoder")) > 0
        spoilt = Omni.open(bundle, engines="orin-nx").model.graph("vocoder")
        right = Reference.of(theirs.model.graph("vocoder"))
        assert min(compare(_Noisy(spoilt), right).values()) < LIMIT_DB["f32"]


def test_parity_with_what_was_written_elsewhere(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A device whose onnxruntime is too old for the graphs compares with written outputs."""
    bundle = with_engines(trained[1], tmp_path / "bundle")
    written = tmp_path / "written"

    def parity(*words: str | Path) -> int:
        return parity_module.main([str(bundle), *map(str, words)])

    for graph in ("vocoder", "talker_step"):
        assert parity(graph, "--write", written) == 0
    capsys.readouterr()
    monkeypatch.setattr(parity_module, "reads_graphs", lambda: False)
    monkeypatch.setattr(parts_module, "reads_graphs", lambda: False)
    engines = ("--engines", "orin-nx")
    with machine():
        for graph in ("vocoder", "talker_step"):
            assert parity(graph, *engines, "--reference", written) == 0
            facts = json.loads(capsys.readouterr().out)
            assert min(facts["snr_db"].values()) > LIMIT_DB["f32"] and facts["call_us"] > 0
        assert parity("dit_step", *engines, "--reference", written) == 2
        (written / "vocoder.npz").replace(written / "dit_step.npz")
        assert parity("dit_step", *engines, "--reference", written) == 2
        assert "of another bundle" in capsys.readouterr().err
        with pytest.raises(SystemExit, match="too old"):
            parity("vocoder", *engines)
    assert not [one for one in nano_parts(tmp_path, [ORIN]) if "parity" in one.name]
    parts = nano_parts(tmp_path, [ORIN], None, written)
    words = [one.command[2:] for one in parts if "parity" in one.name]
    assert [parity_module.parsed(one).reference for one in words] == len(GRAPHS) * [written]


def test_a_given_python_needs_no_environment_of_ours() -> None:
    # a make that runs the suite exports its own flags
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }

    def said(*words: str) -> str:
        make = ("make", "-n", "--no-print-directory", "gpu-check", "VENV=no/such/environment")
        return subprocess.run(
            (*make, *words), cwd=ROOT, env=env, capture_output=True, text=True, check=True
        ).stdout

    assert "pip install" in said()
    assert said("GPU_PYTHON=python3").strip() == "python3 -m tools.gpu_check"


def test_parity_of_bf16(
    trained_bf16: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CPU has no kernels for bf16, and computes the right outputs in f32."""
    bundle = with_engines(trained_bf16[1], tmp_path / "bundle")
    with machine():
        for graph in ("thinker_step", "vocoder"):
            assert parity_module.main([str(bundle), graph, "--engines", "orin-nx"]) == 0
            facts = json.loads(capsys.readouterr().out)
            assert facts["limit_db"] == LIMIT_DB["f32" if graph == "vocoder" else "bf16"]
            assert min(facts["snr_db"].values()) > LIMIT_DB["f32"], "the double computes in f32"


class _Noisy:
    """A graph with outputs that are 2 % too large."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.contract = graph, graph.contract

    def bind(self, sizes: dict[str, int], kept: bool = False) -> Any:
        bound = self.graph.bind(sizes, kept=kept)

        def outputs() -> dict[str, Array]:
            return {name: array * np.float32(1.02) for name, array in bound.outputs.items()}

        class Spoilt:
            inputs, run = bound.inputs, bound.run
            outputs = property(lambda self: outputs())

        return Spoilt()


def part(name: str, code: str, *needs: str, minutes: float = 1) -> Part:
    return Part(name, ("-c", code), needs, "cuda", minutes)


def test_one_failure_stops_no_other_part(tmp_path: Path) -> None:
    parts = [
        part("crash", "import os; os.kill(os.getpid(), 11)"),
        part("error", "import sys; print('omnijet: no'); sys.exit('omnijet: this is why')"),
        part("after", "raise SystemExit('never')", "error"),
        part("hang", "import time; time.sleep(60)", minutes=0.02),
        part("fine", "print('first\\n{\"call_us\": 3}')"),
        part("last", "pass", "fine"),
    ]
    found = {one.part.name: one for one in run_all(parts, tmp_path / "log.txt")}
    assert [found[p.name].verdict for p in parts] == [
        "failed", "failed", "not run", "failed", "passed", "passed",
    ]  # fmt: skip
    assert found["crash"].said == "ended by signal 11"
    assert found["error"].said == "omnijet: this is why"
    assert found["after"].said == "without error" and "not done" in found["hang"].said
    assert found["fine"].facts == {"call_us": 3}
    assert "omnijet: this is why" in (tmp_path / "log.txt").read_text()


def test_every_command_is_one_that_is_understood(tmp_path: Path) -> None:
    """Each program parses the options of its command."""
    parts = nano_parts(tmp_path, [CUDA, ORIN]) + full_parts(tmp_path, [CUDA, ORIN], "orin-int4")
    names = {one.name for one in parts}
    assert len(names) == len(parts) and all(set(one.needs) <= names for one in parts)
    order = [one.name for one in parts]
    assert all(order.index(need) < order.index(one.name) for one in parts for need in one.needs)
    assert sum("parity" in one.name for one in parts) == 2 * len(GRAPHS) + 4
    assert not [one for one in nano_parts(tmp_path, [CUDA]) if "bf16" in one.name]
    for one in parts:
        _, module, *words = one.command
        if module != "omnijet":
            assert importlib.import_module(module).parsed(words)
            continue
        verb = cli.VERBS.get(words[0])
        if verb is None:
            assert words[0] == "build", words
            continue
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(verb.module).add_arguments(parser)
        parser.parse_args(words[1:])
    given = nano_parts(tmp_path, [ORIN], tmp_path / "given")
    assert given[0].name == "orin-nx: build nano" and not given[0].needs


def test_the_table() -> None:
    facts = {"snr_db": {"wave": 61.4, "other": 70.0}, "call_us": 123.4}
    steps = {"thinker_decode": {"total_us": 2500.0, "host_us": 100.0}}
    bench = {"stages_ms": {"dit": 12.0}, "steps": steps, "real_time_factor": 0.5}
    profile = {"scenarios": {ASKED: {"latency_ms": {"first_pcm": {"p50": 321.0}}}}}
    peer = {"stages_ms": {"dit": 99.0}, "steps": {"thinker_decode": {"total_us": 9000.0}}}
    parity = Part("cuda: parity of vocoder", (), (), "cuda")
    text = markdown(
        "A GPU",
        [
            Outcome(parity, "passed", 3.0, facts=facts),
            Outcome(replace(parity, name="cuda: parity of dit_step"), "failed", said="a | b\nc"),
            Outcome(
                replace(parity, name="cuda: parity of talker_step, bf16"), "passed", facts=facts
            ),
            Outcome(Part("cuda: bench 3B", (), (), "cuda"), "passed", 9.0, facts=bench),
            Outcome(Part("cuda: profile 3B", (), (), "cuda"), "passed", 9.0, facts=profile),
            Outcome(Part(f"{PEER}: bench 3B", (), (), PEER), "passed", 9.0, facts=peer),
        ],
    )
    assert "| vocoder | 61 dB, 123 µs |" in text and "| dit_step | failed |" in text
    assert "| talker_step, bf16 | 61 dB, 123 µs |" in text and text.count("| thinker_step") == 1
    assert (
        "| thinker_decode, one step | 2.50 | 9.00 |" in text and "| dit | 12.00 | 99.00 |" in text
    )
    assert "| thinker_decode, of it host | 0.10 |  |" in text
    assert "| real-time factor | 0.500 |  |" in text and "a / b c" in text
    assert "| first PCM of a stream (question) | 321.00 |  |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| cuda: ")}
    assert widths == {5} and "| graph | cuda |" in text


def test_ways_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def target(name: str, sm: int, library: str, memory: float | None, most: int = 11) -> Any:
        toolkit = SimpleNamespace(oldest=(10, 15), newest=(most, 0))
        return SimpleNamespace(
            name=name, compute_capability=sm, library=library, memory_gb=memory, toolkit=toolkit
        )

    there = [
        target("small", 87, "tensorrt", 8), target("middle", 87, "tensorrt", 16),
        target("large", 87, "tensorrt", 64), target("old", 87, "tensorrt", 16, 10),
        target("other", 110, "tensorrt", 16), target("absent", 87, "tensorrt_rtx", 16),
    ]  # fmt: skip
    monkeypatch.setattr(ways_module, "TARGETS", {one.name: one for one in there})
    with machine() as made:
        made.library.__version__ = "11.0.0"
        found = ways(DeviceProperties("Orin", 87, True), 15.6, None)
    assert found == [Way("--engines", "middle")]
    assert ways(DeviceProperties("Orin", 87, True), 15.6, "thor") == [Way("--engines", "thor")]
    names = [PROVIDERS[name].full_name for name in ("cuda", "tensorrt")]
    monkeypatch.setattr(ways_module.onnxruntime, "get_available_providers", lambda: names)
    for library, extra in ((None, []), ("libnvinfer.so.10", [Way("--provider", "tensorrt")])):
        monkeypatch.setattr(ways_module, "find_library", lambda name, found=library: found)
        assert ways(DeviceProperties("L4", 89, False), 24, "thor")[:-1] == [CUDA, *extra]
    assert CUDA.keywords == {"provider": "cuda"} and json.dumps(CUDA.options)


def test_the_whole_run_writes_its_table_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine with a GPU is simulated, where one part of two fails."""
    main = importlib.import_module("tools.gpu_check.__main__")
    monkeypatch.setattr(main, "find_gpu", lambda: (DeviceProperties("A GPU", 89, False), 24.0))
    monkeypatch.setattr(main, "ways", lambda *_: [CUDA])
    told = []

    def parts(scratch: Path, found: list[Way], given: Path | None, other: None) -> list[Part]:
        assert scratch.is_dir() and found == [CUDA] and other is None
        told.append(given)
        return [part("fine", "pass"), part("broken", "raise SystemExit('omnijet: broken')")]

    monkeypatch.setattr(main, "nano_parts", parts)
    words = ["gpu_check", "--nano", "--scratch", str(tmp_path / "out"), "--nano-bundle", "there"]
    monkeypatch.setattr(sys, "argv", words)
    assert main.main() == 1
    assert told == [Path("there").resolve()]
    said = capsys.readouterr()
    assert "FAILED: broken" in said.out and "passed   fine" in said.err
    assert "| broken | failed |" in (tmp_path / "out" / "table.md").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"table.md", "log.txt"}


class _Pretended(Gpu):
    """A double in place of the real GPU."""

    runs_graphs = True
    faults: tuple[BaseException, ...] = ()


def test_engines_on_cuda_alone(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made: list[_Pretended] = []

    def load_cuda() -> Cuda:
        made.append(_Pretended(capability=90))
        return Cuda(made[-1])

    monkeypatch.setattr(cuda_module, "load_cuda", load_cuda)
    monkeypatch.setattr(cuda_module, "Bridge", lambda cuda: made[-1])
    monkeypatch.setattr(cuda_module, "CASES", {"own memory": cuda_module.Case()})
    monkeypatch.setattr(cuda_module.gc, "disable", lambda: None)
    with machine(capability=90):
        assert cuda_module.main([str(trained[1])]) == 0
        found = json.loads(capsys.readouterr().out)["own memory"]
        assert found["wrong"] == [] and found["launches"] > 50 and found["step_us"] > 0
        monkeypatch.setattr(cuda_module, "same", lambda one, other: False)
        assert cuda_module.main([str(trained[1])]) == 1
