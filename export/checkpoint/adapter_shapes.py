"""The shapes that the tensors of a low-rank layer must have: those of A, B and the magnitude."""

from __future__ import annotations

from collections.abc import Iterable

from omnijet.export.checkpoint.shard import Entry
from omnijet.export.checkpoint.tensor_layout import VOCODER

Shape = tuple[int, ...]
Shapes = tuple[tuple[Shape, ...], ...]
"""The shapes that each of the three may have, the usual one first; none if it cannot fit."""


def linear_shapes(key: str, shape: Shape, rank: int) -> Shapes:
    """Returns the shapes for a linear layer, or a convolution, of this weight."""
    if len(shape) < 2 or key.startswith(f"{VOCODER}.ups."):  # transposed: the inputs are first
        return ((), (), ())
    outputs, *rest = shape
    ones = (1,) * (len(rest) - 1)
    return (
        ((rank, *rest),),
        ((outputs, rank, *ones),),
        ((outputs,), (1, outputs, *ones)),
    )


def embedding_shapes(key: str, shape: Shape, rank: int) -> Shapes:
    """Returns the shapes for an embedding of this table."""
    if not key.endswith("embed.weight") and not key.endswith("embed_tokens.weight"):
        return ((), (), ())
    vocab, width = shape
    return ((rank, vocab),), ((width, rank),), ((width,),)


def misfits(names: Iterable[str], entries: Iterable[Entry], shapes: Shapes) -> list[str]:
    """Returns one text for each tensor of another shape."""
    return [
        f"{name} is {list(entry.shape)}, not "
        + (str(list(allowed[0])) if allowed else "possible: it is neither linear nor a table")
        for name, entry, allowed in zip(names, entries, shapes, strict=False)
        if entry.shape not in allowed
    ]
