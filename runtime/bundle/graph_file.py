"""Looks through a graph file before a library reads it: only what our own files hold is let in.

The file comes from whoever made the bundle. The libraries that read it follow the places of weights
to any file that they name, and run any operator, loops included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from omnijet.runtime.bundle.protobuf import BYTES, VARINT, BadMessage, Field, fields, signed, varint

# numbers of fields in onnx.proto: those that our files have
MODEL = {"graph": 7, "opset": 8}
MODEL_FIELDS = frozenset(
    {1, 2, 3, 4, 5, 6, 7, 8, 14}
)  # not training_info, functions, configuration
GRAPH = {"node": 1, "initializer": 5, "input": 11, "output": 12, "value": 13}
GRAPH_FIELDS = frozenset({1, 2, 5, 10, 11, 12, 13, 16})  # not sparse_initializer
NODE = {"name": 3, "operator": 4, "attribute": 5, "domain": 7}
NODE_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 9})  # not overload, which only functions have
ATTRIBUTE = {"name": 1, "tensor": 5, "graph": 6}
# not graphs, tensors, types, sparse tensors, references
ATTRIBUTE_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 13, 20})
TENSOR = {"dims": 1, "type": 2, "name": 8, "raw": 9, "entry": 13, "location": 14}
TENSOR_FIELDS = frozenset({1, 2, 8, 9, 12, 13, 14, 16})  # values are raw bytes only
TYPE_FIELDS = frozenset({1, 6})  # a tensor: not a sequence, map, optional or sparse tensor
BITS = {1: 32, 2: 8, 3: 8, 6: 32, 7: 64, 9: 8, 10: 16, 16: 16, 17: 8, 21: 4, 22: 4}
"""Bits of a number by ONNX's enumeration of types."""

BODIES = {("", "Scan"): frozenset({"body"}), ("", "If"): frozenset({"then_branch", "else_branch"})}
"""The operators that hold graphs, and the attributes that hold them."""
MOST_NODES = MOST_WEIGHTS = 100_000
MOST_AXES = 8
MOST_NUMBERS = 1 << 40


@dataclass(frozen=True, slots=True)
class External:
    """A weight in another file.

    Attributes:
        location: the file, as the graph names it.
        size: bytes that the weight's shape and type take.
    """

    name: str
    location: str
    offset: int
    length: int
    size: int


@dataclass(slots=True)
class GraphFacts:
    """What a graph file holds.

    Attributes:
        operators: pairs of domain and operator, with the number of nodes.
        loop_operators: the same for what is within Scan and If.
        faults: what no graph of ours has.
    """

    operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    loop_operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    domains: set[str] = field(default_factory=set)
    externals: list[External] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    weights: int = 0


def graph_facts(data: bytes) -> GraphFacts:
    """Reads a graph file's content.

    Raises:
        BadMessage: it is no graph file, or has more nodes or weights than any of ours.
    """
    walk = _Walk(data)
    walk.model()
    return walk.facts


class _Walk:
    """One pass over a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.facts = GraphFacts()

    def model(self) -> None:
        graphs = []
        for one in self._fields(0, len(self._data), MODEL_FIELDS, "the model"):
            if one.number == MODEL["graph"]:
                graphs.append(one)
            elif one.number == MODEL["opset"]:
                self.facts.domains.add(self._opset(one))
        if len(graphs) != 1:
            raise BadMessage(f"{len(graphs)} graphs")
        self._graph(graphs[0], None)

    def _graph(self, place: Field, loop: str | None) -> None:
        """Reads a graph; `loop` is the name of the node whose body or branch it is."""
        where = "the graph" if loop is None else f"the body of {loop}"
        names: Counter[str] = Counter()
        for one in self._fields(place.value, place.end, GRAPH_FIELDS, where):
            if one.number == GRAPH["node"]:
                self._node(one, loop)
            elif one.number == GRAPH["initializer"]:
                names[self._tensor(one, is_weight=True)] += 1
                self.facts.weights += 1
            elif one.number in (GRAPH["input"], GRAPH["output"], GRAPH["value"]):
                self._typed(one)
            if self.facts.weights > MOST_WEIGHTS:
                raise BadMessage(f"more than {MOST_WEIGHTS} weights")
        self.facts.faults += [
            f"{name}: {n} weights of one name" for name, n in names.items() if n > 1
        ]

    def _node(self, place: Field, loop: str | None) -> None:
        name = operator = domain = ""
        attributes = []
        for one in self._fields(place.value, place.end, NODE_FIELDS, "a node"):
            if one.number == NODE["operator"]:
                operator = self._text(one)
            elif one.number == NODE["name"]:
                name = self._text(one)
            elif one.number == NODE["domain"]:
                domain = self._text(one)
            elif one.number == NODE["attribute"]:
                attributes.append(one)
        counted = self.facts.operators if loop is None else self.facts.loop_operators
        counted[domain, operator] += 1
        if self.facts.operators.total() + self.facts.loop_operators.total() > MOST_NODES:
            raise BadMessage(f"more than {MOST_NODES} nodes")
        for one in attributes:
            allowed = BODIES.get((domain, operator), frozenset()) if loop is None else frozenset()
            self._attribute(one, name, allowed)

    def _attribute(self, place: Field, node: str, allowed: frozenset[str]) -> None:
        """Reads an attribute; `allowed` names those that may hold a graph."""
        name, bodies = "", []
        for one in self._fields(place.value, place.end, ATTRIBUTE_FIELDS, f"node {node}"):
            if one.number == ATTRIBUTE["name"]:
                name = self._text(one)
            elif one.number == ATTRIBUTE["tensor"]:
                self._tensor(one, is_weight=False)
            elif one.number == ATTRIBUTE["graph"]:
                bodies.append(one)
        if not bodies:
            return
        if name not in allowed or len(bodies) > 1:
            self.facts.faults.append(f"node {node}: a graph within it")
            return
        self._graph(bodies[0], node)

    def _tensor(self, place: Field, is_weight: bool) -> str:
        """Reads a tensor and returns its name."""
        name, dims, kind, raw, at = "", [], 0, None, 0
        entries: dict[str, str] = {}
        for one in self._fields(place.value, place.end, TENSOR_FIELDS, "a tensor"):
            if one.number == TENSOR["dims"]:
                dims += self._numbers(one)
            elif one.number == TENSOR["type"]:
                kind = one.value
            elif one.number == TENSOR["name"]:
                name = self._text(one)
            elif one.number == TENSOR["raw"]:
                raw = one.end - one.value
            elif one.number == TENSOR["entry"]:
                self._entry(one, entries)
            elif one.number == TENSOR["location"]:
                at = one.value
        size = _bytes_of(dims, kind)
        if size is None:
            self.facts.faults.append(f"tensor {name}: type {kind}, shape {dims[: MOST_AXES + 1]}")
        elif at or entries:
            self._external(name, size, entries, is_weight and raw is None)
        elif (raw or 0) != size:
            self.facts.faults.append(f"tensor {name}: {raw or 0} bytes, not {size}")
        return name

    def _external(self, name: str, size: int, entries: dict[str, str], allowed: bool) -> None:
        offset, length = entries.get("offset", "0"), entries.get("length", "")
        known = entries.keys() <= {"location", "offset", "length"} and "location" in entries
        plain = all(one.isascii() and one.isdigit() and len(one) < 19 for one in (offset, length))
        if not (allowed and known and plain):
            self.facts.faults.append(f"tensor {name}: outside the file, at {entries}")
            return
        self.facts.externals.append(
            External(name, entries["location"], int(offset), int(length), size)
        )

    def _entry(self, place: Field, entries: dict[str, str]) -> None:
        """Adds a pair of key and value; a key that is there already is a fault."""
        pair = {1: "", 2: ""}
        for one in self._fields(place.value, place.end, frozenset(pair), "a weight's place"):
            pair[one.number] = self._text(one)
        if pair[1] in entries:
            raise BadMessage(f"a weight with {pair[1]} twice")
        entries[pair[1]] = pair[2]

    def _typed(self, place: Field) -> None:
        """Checks the type of a value."""
        for one in fields(self._data, place.value, place.end):
            if one.number == 2 and one.wire == BYTES:
                for _ in self._fields(one.value, one.end, TYPE_FIELDS, "a type"):
                    pass

    def _opset(self, place: Field) -> str:
        found = ""
        for one in self._fields(place.value, place.end, frozenset({1, 2}), "an opset"):
            if one.number == 1:
                found = self._text(one)
        return found

    def _fields(self, start: int, end: int, known: frozenset[int], where: str) -> Iterator[Field]:
        for one in fields(self._data, start, end):
            if one.number in known:
                yield one
            else:
                self.facts.faults.append(f"{where}: field {one.number} of onnx.proto")

    def _text(self, place: Field) -> str:
        if place.wire != BYTES:
            raise BadMessage(f"a number where text belongs, at byte {place.value}")
        return self._data[place.value : place.end].decode("utf-8", "backslashreplace")

    def _numbers(self, place: Field) -> list[int]:
        """Returns the numbers of a repeated field, packed or one by one."""
        if place.wire == VARINT:
            return [signed(place.value)]
        found, at = [], place.value
        while at < place.end:
            value, at = varint(self._data, at, place.end)
            found.append(signed(value))
        return found


def _bytes_of(dims: list[int], kind: int) -> int | None:
    """Returns the bytes of a tensor; None: it has no shape or type of ours."""
    if kind not in BITS or len(dims) > MOST_AXES or any(dim < 0 for dim in dims):
        return None
    count = prod(dims)
    return None if count > MOST_NUMBERS else -(-count * BITS[kind] // 8)
