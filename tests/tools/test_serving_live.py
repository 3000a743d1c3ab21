"""A server stands a small part of what `tools.serving` tries with it; all tests share one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.omni import Omni
from tools.serving import abuse, churn, judged, killed, load
from tools.serving.questions import Question, answered
from tools.serving.rules import Report
from tools.serving.service import Service, service

CLIENTS, SECONDS, CROWD = 8, 1, 2
KEPT = (*abuse.OPTIONS, "--header-s", "8", "--turns", "4", "--waiting", "4", "--wait-s", "120")


@pytest.fixture(scope="module")
def bundle(trained: tuple[Path, Path]) -> str:
    return str(trained[1])


@pytest.fixture(scope="module")
def questions(bundle: str) -> list[Question]:
    with Omni.open(bundle, backend=OrtBackend(1)) as omni:
        return answered(omni, CLIENTS)


@pytest.fixture(scope="module")
def server(bundle: str) -> Iterator[Service]:
    with service(bundle, *KEPT) as started:
        yield started


def kept(report: Report, *timed: str) -> None:
    """Requires every rule but those that a busy machine may break."""
    broken = [rule for rule in report.rules if not rule.holds and not rule.name.startswith(timed)]
    assert not broken, f"{broken}: {report.faults}"


def test_many_people_are_answered_right_and_a_crowd_is_refused_well(
    server: Service, questions: list[Question]
) -> None:
    found = asyncio.run(load.load(server, questions, CLIENTS, CLIENTS // 2, SECONDS, CROWD))
    assert len(found.turns) >= CLIENTS
    # a second is too short for flat memory and for medians
    kept(judged.report(found, CLIENTS, server.log), "memory", "slowest")


def test_clients_that_leave_at_any_moment_leave_nothing(
    server: Service, questions: list[Question]
) -> None:
    count = 2 * len(churn.MOMENTS)
    found = asyncio.run(churn.churn(server, questions, count, seed=1, warm=1))
    assert len(found.counts) == count
    kept(churn.report(found, count, server.log))


def test_malformed_requests_of_all_kinds_are_refused_clearly(
    server: Service, questions: list[Question]
) -> None:
    attempts = abuse.attempts_of(60, 2, list(abuse.KINDS))
    assert {kind for kind, _ in attempts} == set(abuse.KINDS)
    found = asyncio.run(abuse.abuse(server, questions, attempts))
    kept(abuse.report(found, len(attempts), server.log))


def test_a_killed_server_leaves_a_whole_bundle_and_comes_back(
    bundle: str, questions: list[Question]
) -> None:
    found = killed.killed(bundle, questions[:4], rounds=1, seed=3)
    assert not found.faults
    assert len(found.back_s) == 1
