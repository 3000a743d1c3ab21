"""Refuses graph files that this package did not write, before any library reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from omnijet.runtime.bundle.folder import rebuild_command
from omnijet.runtime.bundle.graph_file import External, GraphFacts, graph_facts
from omnijet.runtime.bundle.manifest import ENGINES
from omnijet.runtime.bundle.operators import CPU, ORT_DOMAIN, ORT_LAYOUT_DOMAIN, Operators
from omnijet.runtime.bundle.protobuf import BadMessage
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.links import strays
from omnijet.runtime.files.names import shorten
from omnijet.runtime.files.printable import printable

MOST_BYTES = 64 << 20
"""The largest graph file; weights are beside it. Those of a 7B have up to 0.5 MB."""
MOST_FAULTS = 5  # that a message lists


def require_own_graph(path: Path, name: str, operators: Operators = CPU) -> None:
    """Checks that a graph file holds nothing but what ours hold; reads no weight.

    Operators must be ours, and weights must lie in `NAME.weights` beside it, each in a place of its
    own. A missing file is no fault here: who loads it says so.

    Raises:
        OmnijetError: it holds something else; the error lists it.
    """
    try:
        if not path.exists():
            return
        faults = [f"{one.name}: a link to {real}" for one in _files(path) if (real := strays(one))]
        if not faults:
            faults = _faults(path, operators)
    except (OSError, BadMessage) as error:
        raise OmnijetError(
            f"graph {name} cannot be loaded",
            where=path,
            expected="an ONNX graph with its weight file beside it",
            got=error,
            fix=how_to_mend(path),
        ) from error
    if faults:
        shown = [printable(shorten(fault)) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            shown.append(f"and {len(faults) - MOST_FAULTS} more")
        raise OmnijetError(
            f"graph {name} is none that omnijet writes",
            where=path,
            expected=f"its operators, and weights in {weights_beside(path).name} beside it",
            got="\n            ".join(shown),
            fix=f"`{rebuilt} --force --graphs {name}` makes it again"
            if (rebuilt := rebuilding(path))
            else "export the bundle again, or get it from somebody whom you trust",
        )


def how_to_mend(path: Path) -> str:
    """Returns what to do about a graph that cannot be loaded."""
    if rebuilt := rebuilding(path):
        return f"if the file is damaged, `{rebuilt}` makes it again"
    return "run `omnijet check` on the bundle; if a file is damaged, export it again"


def rebuilding(path: Path) -> str | None:
    """Returns the command that builds a graph file again if it is damaged; None: it was not built,
    but exported.
    """
    place = path.parent
    if place.parent.name != ENGINES:
        return None
    return rebuild_command(place.parent.parent, place.name)


def weights_beside(path: Path) -> Path:
    """Returns the weight file of a graph file."""
    return path.with_suffix(".weights")


def _files(path: Path) -> Sequence[Path]:
    return path, weights_beside(path)


def _faults(path: Path, operators: Operators) -> list[str]:
    if not path.is_file():
        return ["no file"]
    size = path.stat().st_size
    if size > MOST_BYTES:
        return [f"{size} bytes, more than {MOST_BYTES}"]
    facts = graph_facts(path.read_bytes())
    return [*facts.faults, *_unknown(facts, operators), *_misplaced(facts, weights_beside(path))]


def _unknown(facts: GraphFacts, operators: Operators) -> list[str]:
    """Returns a fault for each operator and domain that is none of these."""
    allowed = {("", one) for one in operators.standard} | {
        (ORT_DOMAIN, one) for one in operators.ort
    }
    allowed |= {(ORT_LAYOUT_DOMAIN, one) for one in operators.layout}
    domains = {domain for domain, _ in allowed}
    faults = [f"operators of domain {one!r}" for one in sorted(facts.domains - domains)]
    faults += _named(facts.operators.keys() - allowed, "")
    body = {("", one) for one in operators.loop} | {(ORT_DOMAIN, one) for one in operators.loop_ort}
    return faults + _named(facts.loop_operators.keys() - body, " in a loop or a branch")


def _named(operators: Iterable[tuple[str, str]], where: str) -> list[str]:
    named = sorted(f"{domain}.{one}" if domain else one for domain, one in operators)
    return [f"operator {one}{where}" for one in named]


def _misplaced(facts: GraphFacts, weights: Path) -> list[str]:
    """Returns a fault for each weight that is not in a place of its own in the weight file."""
    if not facts.externals:
        return []
    if not weights.exists():
        return [f"{weights.name}: missing"]
    end = weights.stat().st_size
    faults, before = [], 0
    for one in sorted(facts.externals, key=lambda external: external.offset):
        if fault := _fault_of(one, weights.name, end, before):
            faults.append(f"weight {one.name}: {fault}")
        before = max(before, one.offset + one.length)
    return faults


def _fault_of(one: External, weights: str, end: int, before: int) -> str | None:
    if one.location != weights:
        return f"in {one.location!r}"
    if one.length != one.size:
        return f"{one.length} bytes, not {one.size}"
    if one.offset + one.length > end:
        return f"ends at byte {one.offset + one.length} of {end}"
    return "shares bytes with another weight" if one.offset < before else None
