"""Runs each graph of a bundle once, in a process of its own and within a time limit."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnijet.runtime.backends.choose import BACKENDS
from omnijet.runtime.bundle.folder import Bundle, left_out
from omnijet.runtime.child.start import start
from omnijet.runtime.leftovers import leftover

LEAST_S = 60
BYTES_PER_S = 20_000_000
"""A slow card of a small device reads so much, and its processor computes no slower."""

CHILD: str | Path = "omnijet.runtime.commands.graph_trial"

Outputs = dict[str, dict[str, Any]]
"""The facts of each output of a graph, as `graph_trial` tells them."""


@dataclass(frozen=True, slots=True)
class Trials:
    """How graphs are run.

    Attributes:
        provider, engines: what runs them, as for `omnijet run`.
        seconds: the time limit of a graph; None: by the size of its weights.
    """

    provider: str | None = None
    engines: str | None = None
    seconds: float | None = None

    def run(
        self, bundle: Bundle, progress: Callable[[int], None] = lambda done: None
    ) -> tuple[list[str], dict[str, Outputs]]:
        """Returns one line for each fault, and the outputs of the graphs that ran."""
        faults, found = [], {}
        for done, name in enumerate(self._names(bundle)):
            progress(done)
            verdict = self._run(bundle, name)
            file = bundle.manifest.graphs[name].file
            if "error" in verdict:
                faults.append(f"{file}: {verdict['error']}")
                continue
            found[name] = verdict["pattern"]
            faults += [f"{file}: {fault}" for fault in output_faults(verdict["zeros"])]
        return faults, found

    def can_run(self, bundle: Bundle) -> bool:
        """Returns whether the processor, if it is to run them, has kernels for the graphs."""
        if self.engines is not None:
            return True
        row = next(row for row in BACKENDS if row.name == (self.provider or BACKENDS[0].name))
        return bundle.manifest.precision in row.backend_class().precisions

    def _names(self, bundle: Bundle) -> list[str]:
        if self.engines is not None:
            return list(bundle.manifest.engines.get(self.engines, bundle.manifest.graphs))
        absent = left_out(bundle.folder, bundle.manifest).values()
        return [name for name in bundle.manifest.graphs if name not in absent]

    def _run(self, bundle: Bundle, name: str) -> dict[str, Any]:
        job = {"provider": self.provider, "engines": self.engines}
        return tried(CHILD, bundle, name, job, self.seconds, " (--deep-seconds gives more)")


def tried(
    child: str | Path,
    bundle: Bundle,
    name: str,
    job: Mapping[str, Any],
    seconds: float | None,
    way_out: str = "",
) -> dict[str, Any]:
    """Does a job with one graph in a process of its own; returns the JSON that it prints last.

    What becomes of the process is a verdict, too: `{"error": ...}`.

    Args:
        child: the module or file that it runs; its job gets the bundle's folder and the graph.
        seconds: the time limit; None: by the size of the graph's weights.
        way_out: how to get more time, for the message.
    """
    limit = seconds
    if limit is None:
        limit = LEAST_S + bundle.manifest.graphs[name].weight_bytes // BYTES_PER_S
    job = {"bundle": str(bundle.folder.absolute()), "graph": name, **job}
    process = start(
        child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with leftover(process.kill), process:
        try:
            said, _ = process.communicate(json.dumps(job), timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"{name} did not end within {limit} s{way_out}"}
        finally:
            process.kill()
    return _verdict(name, said, process.returncode)


def output_faults(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns one line for each output that a graph makes wrong from zeros."""
    faults = []
    for name, facts in outputs.items():
        if "wanted" in facts:
            faults.append(f"{name} is {facts['tensor']}, not {facts['wanted']}")
        if facts["odd"]:
            faults.append(f"{name} has {facts['odd']} NaN or infinite values, from zeros")
    return faults


def _verdict(name: str, said: str, code: int) -> dict[str, Any]:
    """Returns what the process said last, or how it ended without a word."""
    with suppress(ValueError, IndexError):
        verdict = json.loads(said.splitlines()[-1])
        if isinstance(verdict, dict):
            return verdict
    if code >= 0:
        return {"error": f"{name} ended its process with exit code {code}"}
    with suppress(ValueError):
        if code == -signal.SIGKILL:
            return {"error": f"{name} was killed: memory has probably run out"}
        return {"error": f"{name} ended its process by {signal.Signals(-code).name}"}
    return {"error": f"{name} ended its process by signal {-code}"}
