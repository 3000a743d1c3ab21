"""One page of Prometheus of the pages of all replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

LABEL = "replica"


@dataclass(frozen=True, slots=True)
class Page:
    """What one replica says of itself.

    Attributes:
        pid: of its process.
        node: of Ray.
        text: in the format of Prometheus.
    """

    pid: int
    node: str
    text: str


class _Collected:
    """What `generate_latest` takes for a registry."""

    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


def joined_pages(pages: Mapping[str, Page], wanted: int) -> bytes:
    """Returns one page with every sample of each replica, told apart by a label.

    Args:
        pages: by the name of the replica.
        wanted: how many replicas there should be; who is missing has ended, or is late.
    """
    known = Metric("omnijet_replica", "Replicas that answer", "info")
    asked = Metric("omnijet_replicas_wanted", "Replicas that there should be", "gauge")
    asked.add_sample("omnijet_replicas_wanted", {}, wanted)
    families = {known.name: known, asked.name: asked}
    for name, page in sorted(pages.items()):
        labels = {LABEL: name, "pid": str(page.pid), "node": page.node}
        known.add_sample("omnijet_replica_info", labels, 1)
        for found in text_string_to_metric_families(page.text):
            family = families.setdefault(
                found.name, Metric(found.name, found.documentation, found.type)
            )
            family.samples += [
                sample._replace(labels={**sample.labels, LABEL: name}) for sample in found.samples
            ]
    return bytes(generate_latest(_Collected(families)))
