"""One piece of the rounding of a graph: what a process does without knowing the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.apply import (
    OUTPUTS,
    Losses,
    change_of,
    common_divisor,
    losses_of,
)
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Scheme
from omnijet.quantization.weight_source import WeightSource
from omnijet.quantization.weights import Change
from omnijet.runtime.errors import OmnijetError

BAND = 32 << 20  # weights of one job at most, if its layer can be divided
COPIES = 4
"""Arrays f32 as large as the job's weights that exist at once, at most: the weight, the same with
its divisor, those of all layers side by side, and the product with the sample."""


@dataclass(frozen=True, slots=True)
class RoundingJob:
    """Layers that share an activation and its divisor, or some outputs of one layer.

    Attributes:
        columns: the outputs of the only layer; None: all outputs of all layers.
        stats: statistics of the activation; None: nothing is calibrated.
    """

    layers: Sequence[Layer]
    sources: Sequence[WeightSource]
    scheme: Scheme
    stats: Statistics | None
    columns: slice | None = None

    @property
    def peak_bytes(self) -> int:
        """Memory that the job takes at most, besides its statistics."""
        return peak_bytes(self.layers, self.scheme, self.stats is not None)


@dataclass(frozen=True, slots=True)
class Rounded:
    """What became of a layer's outputs.

    Attributes:
        losses: what the outputs lose, on the sample; empty: nobody knows.
    """

    change: Change
    losses: Losses


def round_job(job: RoundingJob) -> list[Rounded]:
    """Does a job; returns a result for each layer.

    Raises:
        OmnijetError: a weight cannot be read, or has numbers that are not finite.
    """
    graph, columns = job.layers[0].graph, job.columns or slice(None)
    weights = [source.read(columns) for source in job.sources]
    with _named(f"{graph}: {', '.join(layer.name for layer in job.layers)}"):
        divisor = common_divisor(weights, job.scheme, job.stats)
    made = []
    for layer, weight in zip(job.layers, weights, strict=True):
        with _named(f"{graph}: {layer.name}"):
            change = change_of(weight, job.scheme, job.stats, divisor, layer.half)
        losses = [] if job.stats is None else losses_of(weight, change, job.stats.sample)
        made.append(Rounded(change, losses))
    return made


def jobs_of(
    layers: Sequence[Layer], sources: Sequence[WeightSource], scheme: Scheme,
    stats: Statistics | None,
) -> Iterator[RoundingJob]:  # fmt: skip
    """Yields the jobs of layers that share an activation, in the order of their outputs."""
    if _is_whole(scheme, stats is not None):
        yield RoundingJob(layers, sources, scheme, stats)
        return
    for layer, source in zip(layers, sources, strict=True):
        width = _width(layer.inputs)
        for first in range(0, layer.outputs, width):
            columns = slice(first, min(first + width, layer.outputs))
            yield RoundingJob([layer], [source], scheme, stats, columns)


def peak_bytes(layers: Sequence[Layer], scheme: Scheme, is_calibrated: bool) -> int:
    """Returns the memory that the largest job of such layers takes."""
    if _is_whole(scheme, is_calibrated):
        return 4 * COPIES * sum(layer.parameters for layer in layers)
    return 4 * COPIES * max(one.inputs * min(one.outputs, _width(one.inputs)) for one in layers)


def _is_whole(scheme: Scheme, is_calibrated: bool) -> bool:
    """Returns whether all outputs have a say in what each of them becomes."""
    moved = scheme.activations is not None and scheme.activations.migration is not None
    return scheme.weights.compensated or (is_calibrated and (scheme.weights.scaling or moved))


def _width(inputs: int) -> int:
    """Returns the outputs of one job: whole portions of what `losses_of` compares at once."""
    return max(1, BAND // inputs // OUTPUTS) * OUTPUTS


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Adds the layer to errors of the numerics."""
    try:
        yield
    except OmnijetError as error:
        raise error.within(place) from error
