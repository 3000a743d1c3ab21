"""A graph's bindings by size: allocated at the first use, kept for every later one."""

from __future__ import annotations

from omnijet.runtime.backends.protocol import Bound, Graph


class Bindings:
    """For sizes that return, those of windows; one utterance's own length is bound alone.

    Buffers are shared by all who ask for the same sizes: write, run and read in one go.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._bound: dict[tuple[tuple[str, int], ...], Bound] = {}

    def of(self, **sizes: int) -> Bound:
        """Kept."""
        key = tuple(sorted(sizes.items()))
        if key not in self._bound:
            self._bound[key] = self.graph.bind(sizes, kept=True)
        return self._bound[key]

    def once(self, **sizes: int) -> Bound:
        """For the caller alone."""
        return self.graph.bind(sizes)

    def __len__(self) -> int:
        return len(self._bound)
