"""What a graph computes must be finite: no token and no sound is made of NaN or infinity."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError

_thread = threading.local()


@contextmanager
def anything_passes() -> Iterator[None]:
    """Lets values that are not finite pass in this thread, for who counts them."""
    _thread.lets_pass = True
    try:
        yield
    finally:
        _thread.lets_pass = False


class NotFinite(OmnijetError):
    """A graph's output holds NaN or infinity.

    Args:
        graph: its name.
        output: the name of the output.
        step: where in the turn it happened.
        got: how many values are affected.
        fix: the likely cause and the way out, once somebody knows the bundle.
    """

    def __init__(
        self, graph: str, output: str, step: str, got: object, fix: str | None = None
    ) -> None:
        self.graph, self.output, self.step = graph, output, step
        super().__init__(
            f"the graph {graph} computed values that are not finite",
            where=f"{graph}, {step}: output {output}",
            expected="finite numbers",
            got=got,
            fix=fix,
        )

    def because(self, cause: str) -> NotFinite:
        """Returns the same error with its likely cause and the way out."""
        return NotFinite(self.graph, self.output, self.step, self.got, cause)


def require_finite(values: Array, graph: str, output: str, step: str) -> None:
    """Checks an output after a run.

    Args:
        values: the output.
        graph, output: their names.
        step: where in the turn it was computed.

    Raises:
        NotFinite: it holds NaN or infinity.
    """
    is_finite = np.isfinite(values)
    if is_finite.all() or getattr(_thread, "lets_pass", False):
        return
    count = values.size - int(is_finite.sum())
    nan = int(np.isnan(values).sum())
    raise NotFinite(graph, output, step, f"{nan} NaN and {count - nan} infinite of {values.size}")
