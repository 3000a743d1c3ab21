"""What a manifest says about quantized graphs: figures for people, and what a build asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from omnijet.runtime.bundle.ranges import Count, Few, Label, Name, Sha256, Within
from omnijet.runtime.bundle.records import build

Decibels = Annotated[float, Within(-1000, 1000)]
Path = Annotated[str, Name(4096)]


@dataclass(frozen=True, slots=True)
class _Layer:
    scheme: Label
    snr_db: Decibels | None
    bytes: Count
    float_bytes: Count


@dataclass(frozen=True, slots=True)
class _Facts:
    """The section of a quantized bundle, or of a checkpoint whose weights came packed."""

    recipe: Label
    form: Literal["standard", "cpu"] = "standard"
    needs: tuple[Label, ...] = ()
    source: Path | None = None
    source_manifest_sha256: Sha256 | None = None
    calibration: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    layers: dict[str, Any] | None = None
    bits: Few | None = None
    block: Annotated[int, Within(-1, 1 << 24)] | None = None
    zero_points: bool | None = None
    sorted_inputs: bool | None = None


def quantization_faults(facts: Mapping[str, Any], graphs: Collection[str]) -> list[str]:
    """Returns what is wrong with the section, in lines; it is empty for graphs of floats."""
    if not facts:
        return []
    layers = facts.get("layers")
    faults: list[str] = []
    kinds: list[tuple[Any, Any, str]] = [(_Facts, facts, "quantization")]
    for graph, found in layers.items() if isinstance(layers, dict) else ():
        place = f"quantization.layers.{graph[:60]}"
        if graph not in graphs:
            faults.append(f"{place}: there is no such graph")
        # a packed checkpoint gives the number of layers alone
        kinds.append((Count if isinstance(found, int) else dict[str, _Layer], found, place))
    for kind, data, place in kinds:
        try:
            build(kind, data, place, closed=True)
        except ValueError as error:
            faults += [line.strip() for line in str(error).splitlines()]
    return faults
