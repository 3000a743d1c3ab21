"""The page of metrics of all replicas."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from omnijet.runtime.serve.replicas.exposition import Page, joined_pages


def page(turns: int, seconds: list[float]) -> Page:
    registry = CollectorRegistry()
    counter = Counter("omnijet_turns", "Turns", ["kind"], registry=registry)
    counter.labels("chat").inc(turns)
    Gauge("omnijet_waiting", "Turns that wait", registry=registry).set(3)
    histogram = Histogram("omnijet_wait_seconds", "Waiting", registry=registry, buckets=(1, 2))
    for one in seconds:
        histogram.observe(one)
    return Page(100 + turns, "node", generate_latest(registry).decode())


def test_every_sample_of_each_replica_is_told_apart() -> None:
    whole = joined_pages({"a": page(1, [0.5]), "b": page(2, [1.5, 9])}, wanted=3).decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(whole)
        for sample in family.samples
    }
    kind = ("kind", "chat")
    assert samples["omnijet_turns_total", (kind, ("replica", "a"))] == 1
    assert samples["omnijet_turns_total", (kind, ("replica", "b"))] == 2
    assert samples["omnijet_waiting", (("replica", "b"),)] == 3
    assert samples["omnijet_wait_seconds_bucket", (("le", "2.0"), ("replica", "b"))] == 1
    assert samples["omnijet_wait_seconds_bucket", (("le", "+Inf"), ("replica", "b"))] == 2
    assert samples["omnijet_wait_seconds_sum", (("replica", "a"),)] == 0.5
    assert samples["omnijet_replicas_wanted", ()] == 3
    info = (("node", "node"), ("pid", "102"), ("replica", "b"))
    assert samples["omnijet_replica_info", info] == 1
    # a family stands on the page once, with its help and its type
    assert whole.count("# TYPE omnijet_turns_total counter") == 1
    assert whole.count("# HELP omnijet_wait_seconds Waiting") == 1
