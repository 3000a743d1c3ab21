"""A graph's bindings by size: allocated at the first use, kept for every later one."""

from __future__ import annotations

from omnijet.runtime.backends.protocol import Bound, Graph


class Bindings:
    """The bindings of one graph.

    The sizes of windows return, so their bindings are kept; the length of one whole utterance is
    bound once. Kept buffers are shared by all who ask for the same sizes: write, run and read in
    one go.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._bound: dict[tuple[tuple[str, int], ...], Bound] = {}

    def of(self, **sizes: int) -> Bound:
        """Returns the binding of these sizes, which is kept."""
        key = tuple(sorted(sizes.items()))
        if key not in self._bound:
            self._bound[key] = self.graph.bind(sizes, kept=True)
        return self._bound[key]

    def once(self, **sizes: int) -> Bound:
        """Returns a new binding of these sizes for the caller alone."""
        return self.graph.bind(sizes)

    def __len__(self) -> int:
        return len(self._bound)
