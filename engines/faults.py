"""Turns a failed build into an error with a way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnijet.engines.build_memory import remedy
from omnijet.engines.library import how_to_get
from omnijet.engines.process import Died, killed_for_memory
from omnijet.engines.targets.chosen import LIST_COMMAND
from omnijet.engines.targets.target import Target
from omnijet.runtime.backends.trt.library import TITLES
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.machine.platform import this_platform

NO_MEMORY = ("out of memory", "outofmemory", "bad_alloc")


def process_fault(died: Died, graph: str, predicted: int, target: Target) -> OmnijetError:
    """Returns the error for a worker that ended without a verdict."""
    if killed_for_memory(died):
        return _no_memory(graph, predicted, target, died.said or "killed by the system")
    return OmnijetError(
        f"the builder of {graph} crashed",
        where=f"target {target.name}",
        got=died.said or (f"signal {died.signal}" if died.signal else "no verdict"),
        fix=f"build it alone with --graphs {graph}; what is finished stays",
    )


def unread_graph(verdict: Mapping[str, Any], graph: str, target: Target) -> OmnijetError:
    """Returns the error for a lowered graph that ONNX Runtime does not read."""
    said = "\n            ".join(map(_line, verdict["said"])) or "nothing"
    if any(sign in said.lower() for sign in NO_MEMORY):
        return _no_memory(graph, 0, target, said)
    return OmnijetError(
        f"ONNX Runtime {verdict.get('version', '?')} does not read {graph}",
        where=f"{graph}, target {target.name}, flavour {target.flavour}",
        expected="the operators of ONNX Runtime " + ".".join(map(str, target.toolkit.newest)),
        got=said,
        fix="`pip install -U onnxruntime`, and build again",
    )


def build_fault(
    verdict: Mapping[str, Any], graph: str, predicted: int, target: Target
) -> OmnijetError:
    """Returns the error for a verdict of failure."""
    assert target.library != "onnxruntime"
    said, title = verdict["said"], TITLES[target.library]
    text = "\n            ".join(map(_line, said)) or "nothing"
    if any(sign in text.lower() for sign in NO_MEMORY):
        return _no_memory(graph, predicted, target, text)
    if verdict["stage"] == "parser":
        return OmnijetError(
            f"{title} does not take a node of {graph}",
            where=f"{graph}, target {target.name}, flavour {target.flavour}",
            expected=f"operators that its parser knows in version {verdict.get('version', '?')}",
            got=text,
            fix=_other_flavour(target),
        )
    if verdict["stage"] == "write":
        return OmnijetError(
            f"the engine of {graph} could not be written",
            where=f"target {target.name}",
            got=text,
            fix="free space on the disk of the bundle, and build again",
        )
    if verdict["stage"] == "import":
        return OmnijetError(
            f"{title} is not installed here",
            got=text,
            fix=how_to_get(target.library, this_platform()),
        )
    return OmnijetError(
        f"{title} does not build {graph}",
        where=f"{graph}, target {target.name}, {verdict['stage']}",
        got=text,
        fix=f"leave --limit out, if it was given: not all sizes build; {_other_flavour(target)}",
    )


def _line(said: Any) -> str:
    if isinstance(said, dict):
        return f"node {said['node']} ({said['operator']}): {said['reason']}"
    return str(said)


def _other_flavour(target: Target) -> str:
    if target.flavour == "native":
        return (
            "choose a target whose flavour is decomposed, which has plain operators only "
            f"(`{LIST_COMMAND}`), or report the node"
        )
    return "report the node: no flavour has plainer operators"


def _no_memory(graph: str, predicted: int, target: Target, said: str) -> OmnijetError:
    return OmnijetError(
        f"there was too little memory to build {graph}",
        where=f"target {target.name}",
        expected=f"about {predicted / 1e9:.1f} GB free",
        got=said,
        fix=remedy(graph),
    )
