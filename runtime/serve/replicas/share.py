"""What one replica may use of a machine: a GPU, or its share of the cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omnijet.runtime.errors import OmnijetError


@dataclass(frozen=True, slots=True)
class Share:
    """What a replica may use.

    Attributes:
        cores: whole cores; 0: as many as it wants, beside its GPU.
        gpus: 1 or 0.
    """

    cores: int
    gpus: int = 0

    def threads(self, wanted: int) -> int:
        """Returns the threads of a graph: those of the settings, but no more than the cores."""
        if not self.cores:
            return wanted
        return min(wanted, self.cores) if wanted else self.cores


def share_of(nodes: Sequence[Mapping[str, float]], replicas: int, on_gpu: bool) -> Share:
    """Returns the largest share that every replica can have.

    Args:
        nodes: what Ray knows of each machine: `CPU` and `GPU`.
        replicas: how many there are to be.
        on_gpu: whether each needs a GPU.

    Raises:
        OmnijetError: there are more replicas than GPUs or cores.
    """
    name = "GPU" if on_gpu else "CPU"
    owned = [int(node.get(name, 0)) for node in nodes]
    if sum(owned) < replicas:
        raise OmnijetError(
            f"there are more replicas than {'GPUs' if on_gpu else 'cores'}",
            expected=f"{replicas} or more on the machines of the cluster",
            got=f"{sum(owned)} on {len(nodes)}",
            fix="ask for fewer with --replicas",
        )
    if on_gpu:
        return Share(0, 1)
    cores = max(owned)
    while sum(count // cores for count in owned) < replicas:
        cores -= 1
    return Share(cores)
