"""Compares a loaded graph with its reference, and tells where the fault of a wrong one lies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from omnijet.runtime.backends.protocol import Graph
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.reference.distance import Distance, distance
from omnijet.runtime.reference.gate import Machine, fault_of, limit_db
from omnijet.runtime.reference.kept import kept
from omnijet.runtime.reference.reference import Reference
from omnijet.runtime.reference.replay import replay

_CACHE = re.compile(r"(\w+)/(key|value)_cache_(\d+)")


@dataclass(frozen=True, slots=True)
class Compared:
    """One output beside the recorded one.

    Attributes:
        least_db: the limit of `omnijet.runtime.reference.gate`.
        fault: what is wrong; None: nothing.
    """

    output: str
    distance: Distance
    least_db: float
    fault: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All outputs of a graph."""

    graph: str
    outputs: tuple[Compared, ...]

    @property
    def worst(self) -> Compared:
        """The output that is nearest to its limit, or farthest beyond it."""
        return min(self.outputs, key=lambda one: (one.fault is None, _room(one)))

    @property
    def top(self) -> tuple[int, int]:
        """Rows whose most likely token is the recorded one, and all rows that were compared."""
        counted = [one.distance for one in self.outputs]
        return sum(one.top for one in counted), sum(one.rows for one in counted)

    @property
    def faults(self) -> list[str]:
        """One line on where the fault lies, and one on the output that tells most."""
        wrong = [one for one in self.outputs if one.fault is not None]
        if not wrong:
            return []
        first = wrong[0]
        lines = [f"{self.graph}: {place}" for place in [place_of(self.outputs)] if place]
        return [*lines, f"{self.graph}: {first.output}: {first.fault}"]


def compare(graph: Graph, reference: Reference, dims: ModelDims, machine: Machine) -> Comparison:
    """Runs a graph on the recorded inputs.

    Raises:
        OmnijetError: the graph cannot be run on them.
    """
    made = replay(graph, dims, reference.inputs)
    outputs = []
    for name, recorded in reference.outputs.items():
        least = limit_db(machine, reference.moved_db[name])
        if name not in made:
            apart = Distance(fault="recorded, but it is no output here")
        else:
            apart = distance(recorded, kept(name, made[name]))
        outputs.append(Compared(name, apart, least, fault_of(apart, least)))
    return Comparison(reference.graph, tuple(outputs))


def place_of(outputs: Iterable[Compared]) -> str | None:
    """Says where a decoder goes wrong; None: its outputs do not tell, or nothing is wrong.

    Keys and values of a layer are made of what enters it. If those of layer 7 are the first that
    are wrong, then what is wrong is behind the keys and values of layer 6, and not behind those of
    layer 7: attention or feed-forward of layer 6, or the projections of layer 7.
    """
    of_call: dict[str, dict[int, dict[str, Compared]]] = {}
    rest: dict[str, dict[str, Compared]] = {}
    for one in outputs:
        call, _, name = one.output.partition("/")
        if match := _CACHE.fullmatch(one.output):
            of_call.setdefault(call, {}).setdefault(int(match[3]), {})[match[2]] = one
        else:
            rest.setdefault(call, {})[name] = one
    for call, layers in of_call.items():
        if place := _place(layers, rest.get(call, {})):
            return f"in the {call}, {place}"
    return None


def _place(
    layers: Mapping[int, Mapping[str, Compared]], rest: Mapping[str, Compared]
) -> str | None:
    for layer in sorted(layers):
        wrong = [kind for kind, one in layers[layer].items() if one.fault is not None]
        if len(wrong) == 1:
            return f"the {wrong[0]}s of layer {layer}, made by its {wrong[0][0]}_proj"
        if wrong and layer == 0:
            return "layer 0: its first norm or its projections"
        if wrong:
            return (
                f"layers {layer - 1} to {layer}: from the attention of layer {layer - 1} to the "
                f"keys and values of layer {layer}; those before are right"
            )
    wrong_names = {name for name, one in rest.items() if one.fault is not None}
    if wrong_names == {"logits"} and "hidden" in rest:
        return "the head: all layers and the last norm are right"
    if wrong_names:
        rest_of = "its rest, the last norm or the head"
        return f"behind the keys and values of layer {max(layers)}: {rest_of}"
    return None


def _room(one: Compared) -> float:
    return one.distance.snr_db - one.least_db
