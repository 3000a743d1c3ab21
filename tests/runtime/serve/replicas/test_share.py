"""What a replica gets of the machines of a cluster."""

from __future__ import annotations

import pytest

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.serve.replicas.share import Share, share_of


@pytest.mark.parametrize(
    ("cores", "replicas", "each"),
    [([2], 2, 1), ([2], 1, 2), ([8], 3, 2), ([8, 2], 3, 2), ([8, 8], 3, 4), ([64, 1, 1], 3, 21)],
)
def test_cores_are_shared_as_evenly_as_machines_allow(
    cores: list[int], replicas: int, each: int
) -> None:
    share = share_of([{"CPU": float(count)} for count in cores], replicas, on_gpu=False)
    assert share == Share(each)
    assert sum(count // each for count in cores) >= replicas
    assert sum(count // (each + 1) for count in cores) < replicas


def test_a_gpu_is_shared_by_nobody() -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}, {"CPU": 4.0, "GPU": 2.0}]
    assert share_of(nodes, 3, on_gpu=True) == Share(0, 1)
    with pytest.raises(OmnijetError, match="more replicas than GPUs"):
        share_of(nodes, 4, on_gpu=True)


def test_more_replicas_than_cores_are_refused() -> None:
    with pytest.raises(OmnijetError, match="more replicas than cores"):
        share_of([{"CPU": 2.0}], 3, on_gpu=False)


@pytest.mark.parametrize(("cores", "wanted", "threads"), [(2, 0, 2), (2, 1, 1), (2, 8, 2)])
def test_threads_stay_within_the_cores(cores: int, wanted: int, threads: int) -> None:
    assert Share(cores).threads(wanted) == threads


@pytest.mark.parametrize("wanted", [0, 3])
def test_a_replica_with_a_gpu_has_the_threads_of_the_settings(wanted: int) -> None:
    assert Share(0, 1).threads(wanted) == wanted
