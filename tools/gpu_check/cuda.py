"""`python -m tools.gpu_check.cuda BUNDLE`: the engine runner on real CUDA, without TensorRT.

The engines are test doubles, which run their graphs on the host in the order of a real stream
(`tests.runtime.backends.trt.bridge`). Memory, copies, captured graphs and their launches are the
GPU's. The questions of `make demo` are asked with device memory, with memory mapped as on a Jetson,
and with caches in two buffers. Answers, codes and a stream must equal those of the CPU, and a
second reply must allocate and capture nothing. The program prints one line of JSON, with the cost
of a decode step beside its engine; the exit code is 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.trt.device import Device, DeviceProperties
from omnijet.runtime.backends.trt.library import load_cuda
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.reply import Reply
from tests.runtime.backends.trt import library as double
from tests.runtime.backends.trt.bridge import Bridge
from tests.runtime.backends.trt.engines import CAPACITY, VERSIONS, with_engines
from tools.demo import DRAWING, QUESTIONS, ask
from tools.gpu_check.parity import call_us, snr

TARGET = "cuda-hopper"  # only a name: the engines are for the GPU of this machine
LEAST_DB = 50.0
ASKED = QUESTIONS[:2]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of engines and memory."""

    in_place: bool = True
    integrated: bool = False


CASES = {
    "own memory": Case(),
    "mapped memory": Case(integrated=True),
    "two caches": Case(in_place=False),
}


class Counted:
    """The CUDA runtime, with counted calls."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name[4:5].isupper():
            self.calls[name] += 1
        return getattr(self._cuda, name)


@contextmanager
def installed(cuda: Any, facts: DeviceProperties) -> Iterator[Bridge]:
    """Installs the double of TensorRT on the CUDA runtime, and a GPU with these properties."""
    bridge = Bridge(cuda)
    library = double.Library(bridge, "tensorrt", VERSIONS["tensorrt"])
    modules: dict[str, Any] = {"cuda.bindings.runtime": cuda, "tensorrt": library}
    with patch.dict(sys.modules, modules), patch.object(Device, "_read", lambda self: facts):
        yield bridge


def check(case: Case, bundle: Path, folder: Path, facts: DeviceProperties) -> dict[str, Any]:
    """Returns the findings; `wrong` lists the faults."""
    made = with_engines(
        bundle, folder, TARGET, capability=facts.compute_capability, in_place=case.in_place
    )
    cuda = Counted(load_cuda())
    with installed(cuda, replace(facts, integrated=case.integrated)) as bridge:
        ours = Omni.open(made, engines=TARGET)
        theirs = Omni.open(made, backend=OrtBackend(1), context_limit=CAPACITY)
        wrong = []
        for question in ASKED:
            wrong += [f"{question.name}: {one}" for one in _differs(ours, theirs, question)]
        before = Counter(cuda.calls)
        wrong += [f"again: {one}" for one in _differs(ours, theirs, ASKED[-1])]
        again = cuda.calls - before
        made_again = [again[name] for name in ("cudaMalloc", "cudaGraphInstantiate")]
        if case.in_place and any(made_again):
            wrong.append(f"the second reply allocated and captured {made_again} times")
        if not same(_streamed(ours), _streamed(theirs)):
            wrong.append("streamed, by two workers: something else")
        wrong += [repr(fault) for fault in bridge.faults]
        bridge.runs_graphs = False
        step_us = call_us(Omni.open(made, engines=TARGET).model.graph("thinker_step"))
    return {"wrong": wrong, "launches": cuda.calls["cudaGraphLaunch"],
            "copies": cuda.calls["cudaMemcpyAsync"], "step_us": round(step_us, 1)}  # fmt: skip


def _differs(ours: Omni, theirs: Omni, question: Any) -> list[str]:
    one, other = ask(ours, question), ask(theirs, question)
    return [] if same(one, other) else [f"{one.text!r}, {len(one.codes)} codes, "
                                        f"not {other.text!r}, {len(other.codes)}"]  # fmt: skip


def _streamed(omni: Omni) -> Reply:
    """Streams a reply: one worker captures while another copies and allocates."""
    parts = [{"type": kind, kind: value} for kind, value in DRAWING]
    with omni.stream([{"role": "user", "content": parts}], seed=0, max_text_tokens=8) as events:
        list(events)
        return events.reply


def same(one: Reply, other: Reply) -> bool:
    ids = (one.text_ids, one.codes) == (other.text_ids, other.codes)
    return ids and snr(other.audio, one.audio) > LEAST_DB


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check.cuda", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("bundle", type=Path, help="Omnijet-nano")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    args = parsed(words)
    gc.disable()  # a host function must not call CUDA, as the end of a buffer would
    try:
        facts = Device.open().properties
        with tempfile.TemporaryDirectory() as folder:
            found = {
                name: check(case, args.bundle, Path(folder) / name, facts)
                for name, case in CASES.items()
            }
    except OmnijetError as error:
        print(f"omnijet: {error}", file=sys.stderr)
        return 2
    steps = ", ".join(f"{one['step_us']:.0f} µs ({name})" for name, one in found.items())
    print(json.dumps({"said": f"a decode step beside its engine: {steps}", **found}))
    return 1 if any(one["wrong"] for one in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
