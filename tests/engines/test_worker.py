"""The worker runs the real bindings as far as that needs no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omnijet.engines import worker
from omnijet.engines.library import Installed
from omnijet.engines.process import WORKER, Died, killed_for_memory, run_worker

ASKED = {
    "Builder": ("create_network", "create_builder_config", "build_serialized_network",
                "build_serialized_network_to_stream", "create_optimization_profile"),
    "IBuilderConfig": ("set_compute_capability", "num_compute_capabilities", "progress_monitor",
                       "profiling_verbosity", "builder_optimization_level", "create_timing_cache",
                       "set_timing_cache", "get_timing_cache", "add_optimization_profile"),
    "ParserError": ("node_name", "node_operator", "desc", "node"),
    "INetworkDefinition": ("num_layers", "get_layer", "num_inputs", "get_input", "num_outputs",
                           "get_output"),
    "ILayer": ("type", "num_outputs", "get_output"),
    "IAttentionInputLayer": ("attention",),
    "IAttention": ("decomposable",),
    "ITensor": ("name", "dtype", "shape"),
    "IOptimizationProfile": ("set_shape",),
    "ITimingCache": ("serialize",),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": ("create_engine_inspector",),
    "EngineInspector": ("get_engine_information",),
    "IStreamWriter": ("write",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
}  # fmt: skip
"""Members that the worker uses, by class."""


def test_it_imports_nothing_but_bindings() -> None:
    """An interpreter that has only the bindings runs the worker."""
    job = json.dumps({"do": "probe", "library": "tensorrt"})
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(WORKER)], input=job, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] and (verdict["done"] or verdict["stage"] == "import")


def test_what_it_calls_is_there(rtx: Installed) -> None:
    code = (
        "import json, sys, tensorrt_rtx_bindings as trt\n"
        "asked = json.load(sys.stdin)\n"
        "print(json.dumps([f'{k}.{n}' for k, names in asked.items() for n in names"
        " if not hasattr(getattr(trt, k), n)]))"
    )
    done = subprocess.run(
        [rtx.python, "-c", code], input=json.dumps(ASKED), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_probe(rtx: Installed) -> None:
    assert rtx.version.startswith("1.7.")
    assert set(rtx.ahead) >= {86, 89, 120} and 87 not in rtx.ahead


def job(graph: Path, **changed: Any) -> dict[str, Any]:
    shapes = [[1, 4], [2, 4], [8, 4]]
    return {
        "do": "build", "library": "tensorrt_rtx", "graph": graph.name, "engine": "x.engine",
        "log": "x.log", "profiles": [{"x": shapes}], "compute_capability": 86,
        "timing_cache": None, "optimization_level": None, **changed,
    }  # fmt: skip


def write_graph(folder: Path, kind: str = "Relu") -> Path:
    from onnx import TensorProto, helper, save

    node = helper.make_node(kind, ["x"], ["y"], name="the.node")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 4]) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip
    path = folder / "x.onnx"
    save(model, path)
    return path


@pytest.mark.parametrize("head", [64, 264])
def test_attention_without_a_kernel_of_its_own_builds(
    rtx: Installed, tmp_path: Path, head: int
) -> None:
    """No kernel has heads of 264: the library refuses them unless it may use several layers."""
    from onnx import TensorProto, helper, save

    q, k, v, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 2, "rows", head])
        for name in "qkvy"
    )
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    graph = helper.make_graph([node], "g", [q, k, v], [y])
    path = tmp_path / "x.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10), path)
    shapes = [[1, 2, rows, head] for rows in (1, 64, 128)]
    profiles = [dict.fromkeys("qkv", shapes)]
    verdict = run_worker(rtx.python, job(path, profiles=profiles), folder=tmp_path)
    assert verdict["done"], verdict
    assert verdict["summary"]["kinds"]["ATTENTION_INPUT"] == 1


@pytest.mark.parametrize("cache", [None, b"", b"not a timing cache at all" * 40])
def test_a_damaged_timing_cache_is_no_obstacle(
    rtx: Installed, tmp_path: Path, cache: bytes | None
) -> None:
    file = tmp_path / "timing"
    if cache is not None:
        file.write_bytes(cache)
    path = write_graph(tmp_path)
    told: list[str] = []
    verdict = run_worker(
        rtx.python, job(path, timing_cache=str(file), optimization_level=0),
        lambda what, done, total: told.append(what), tmp_path,
    )  # fmt: skip
    assert verdict["done"] and verdict["layers"] >= 1
    assert verdict["timing_cache"] in ("new", "used", "damaged")
    assert verdict["inputs"] == [["x", "FLOAT", [-1, 4]]]
    assert (tmp_path / "x.engine").stat().st_size == verdict["bytes"]
    assert set(told) == {"parsing", "building"}


def test_the_parser_names_node_and_reason(rtx: Installed, tmp_path: Path) -> None:
    path = write_graph(tmp_path, "Bernoulli")
    verdict = run_worker(rtx.python, job(path), folder=tmp_path)
    assert not verdict["done"] and verdict["stage"] == "parser"
    (said, *_) = verdict["said"]
    assert said["node"] == "the.node" and said["operator"] == "Bernoulli" and said["reason"]


def test_a_profile_that_cannot_be(rtx: Installed, tmp_path: Path) -> None:
    path = write_graph(tmp_path)
    bad = [{"x": [[8, 4], [2, 4], [1, 4]]}]
    verdict = run_worker(rtx.python, job(path, profiles=bad), folder=tmp_path)
    assert not verdict["done"] and verdict["said"]


def test_a_worker_without_a_verdict(tmp_path: Path) -> None:
    python = tmp_path / "python"
    for code, for_memory, said in (
        ("kill -9 $$", True, ""),
        ("echo terminate called: std::bad_alloc >&2; exit 134", True, "bad_alloc"),
        ("echo lost >&2; exit 3", False, "lost"),
    ):
        python.write_text(f"#!/bin/sh\n{code}\n")
        python.chmod(0o755)
        with pytest.raises(Died) as died:
            run_worker(str(python), {"do": "probe", "library": "tensorrt"})
        assert killed_for_memory(died.value) == for_memory and said in died.value.said


def test_its_memory_is_its_own() -> None:
    """`getrusage` gives a child its parent's peak if the two shared memory for a moment."""
    parent = bytearray(600_000_000)
    parent[::4096] = b"x" * len(parent[::4096])
    code = "from omnijet.engines.worker import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1_000_000 < int(done.stdout) < len(parent) / 3


class _Cache:
    """A timing cache of the library."""

    def get_timing_cache(self) -> _Cache:
        return self

    def serialize(self) -> bytes:
        return b"timings"


def test_a_timing_cache_is_written_through_no_link(tmp_path: Path) -> None:
    own, path = tmp_path / "photo", tmp_path / "cache" / "trt.cache"
    own.write_bytes(b"a user's")
    path.parent.mkdir()
    path.symlink_to(own)
    (path.parent / f"{path.name}.{os.getpid()}").symlink_to(own)
    worker.keep_cache(_Cache(), str(path))
    assert own.read_bytes() == b"a user's"
    assert path.read_bytes() == b"timings" and not path.is_symlink()
    assert len(list(path.parent.iterdir())) == 2


def test_a_timing_cache_that_is_no_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", worker.MOST_CACHE_BYTES + 1)
    for name in ("folder", "pipe", "large", "missing"):
        assert worker.read_cache(str(tmp_path / name)) == b""
    worker.keep_cache(_Cache(), str(tmp_path / "folder"))
    worker.keep_cache(_Cache(), str(tmp_path / "nowhere" / "cache"))
    assert len(list(tmp_path.iterdir())) == 3
