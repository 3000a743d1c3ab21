"""What a run of many clients must show: every answer right, whole and once; memory; fairness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.nano.evaluation.scores import word_errors
from tools.serving.heard import RATE_HZ, Heard
from tools.serving.rules import Report, Rule, tracebacks

FAIREST = 3.0
GROWTH_BYTES, GROWTH_SHARE = 16 << 20, 0.03
WARM = 1 / 2
JUDGED = 60
NEAREST = 0.95  # share of replies whose sound is nearer to their own answer than to any other


@dataclass(slots=True)
class Found:
    """What all clients of a run met.

    Attributes:
        turns: in the order in which they ended.
        memory: (seconds, bytes) while the clients talked.
        crowd: turns of the crowd that was too large.
    """

    turns: list[Heard] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    crowd: list[Heard] = field(default_factory=list)
    seconds: float = 0.0


def report(found: Found, clients: int, log: str = "") -> Report:
    """Returns the figures of a run and the rules that it had to keep."""
    every = [*found.turns, *found.crowd]
    faults = [str(heard) for heard in every if heard.faults]
    answers = [heard for heard in found.turns if heard.is_whole]
    ids = [name for heard in every for name in heard.ids]
    sounds = [heard.pcm for heard in every if heard.pcm]
    judged = _nearest([heard for heard in answers if heard.pcm][:: max(1, len(answers) // JUDGED)])
    crowd_refused = sum(heard.retry_s is not None for heard in found.crowd)
    rules = [
        Rule.none("turns with a wrong, lost or mixed-up answer", faults, len(every)),
        Rule.none("ids that two turns got", _twice(ids), len(ids)),
        Rule.none("sounds that two turns got", _twice(sounds), len(sounds)),
        Rule("sounds nearest to their own answer (recogniser)", f"{NEAREST:.0%}",
             f"{sum(judged)} of {len(judged)}", sum(judged) >= NEAREST * len(judged) > 0),
        *_memory(found.memory), *_fairness(answers, clients),
        Rule.none("tracebacks in the log", tracebacks(log)),
    ]  # fmt: skip
    if found.crowd:
        took = sum(heard.is_whole for heard in found.crowd)
        text = f"{crowd_refused} refused, {took} answered, of {len(found.crowd)}"
        holds = crowd_refused > 0 and crowd_refused + took == len(found.crowd)
        rules.append(Rule("a crowd: refused with 429/503 and Retry-After, or answered", "all",
                          text, holds))  # fmt: skip
    return Report(
        f"{clients} clients for {found.seconds:.0f} s",
        ("", "turns", "refused", "first PCM, median", "p95", "whole turn, median"),
        [_row(kind, found.turns) for kind in ("realtime", "chat stream", "chat")],
        rules, [*faults, *tracebacks(log)[:3]],
        {"turns": len(found.turns), "memory": found.memory, "seconds": found.seconds},
    )  # fmt: skip


def _row(kind: str, turns: Sequence[Heard]) -> tuple[str, ...]:
    mine = [heard for heard in turns if heard.kind == kind]
    first = sorted(h.first_pcm_s for h in mine if h.is_whole and h.first_pcm_s is not None)
    whole = [heard.total_s for heard in mine if heard.is_whole]
    refused = sum(heard.retry_s is not None for heard in mine)
    if not first:
        return kind, str(len(mine)), str(refused), "", "", ""
    times = (median(first), first[int(0.95 * (len(first) - 1))], median(whole))
    return kind, str(len(mine)), str(refused), *(f"{seconds:.2f} s" for seconds in times)


def _twice(values: Sequence[Hashable]) -> list[Hashable]:
    """Returns the values that came before."""
    return [value for value, count in Counter(values).items() if count > 1]


def _memory(readings: Sequence[tuple[float, int]]) -> list[Rule]:
    """Returns the rule of flat memory: by a line through the readings after the warm-up."""
    warm = readings[int(len(readings) * WARM) :]
    if len(warm) < 3 or not warm[0][1]:
        return []
    seconds, resident = np.array(warm, float).T
    slope = float(np.polyfit(seconds, resident, 1)[0])
    grown, limit = slope * (seconds[-1] - seconds[0]), GROWTH_BYTES + GROWTH_SHARE * resident[0]
    return [
        Rule(
            f"memory after {seconds[0]:.0f} s, growth of the line through it",
            f"+{limit / 1e6:.0f} MB",
            f"{grown / 1e6:+.1f} MB of {resident[0] / 1e6:.0f} MB, most {resident.max() / 1e6:.0f}",
            bool(grown < limit),
        )
    ]


def _fairness(answers: Sequence[Heard], clients: int) -> list[Rule]:
    """Returns a rule for each kind: the slowest client's median over the fastest's."""
    rules = []
    for kind in ("realtime", "chat stream"):
        times: dict[str, list[float]] = {}
        for heard in answers:
            if heard.kind == kind and heard.first_pcm_s is not None:
                times.setdefault(heard.client, []).append(heard.first_pcm_s)
        medians = sorted(median(mine) for mine in times.values())
        if len(medians) > 1:
            found = f"{medians[-1] / medians[0]:.2f} ({medians[0]:.2f} to {medians[-1]:.2f} s)"
            rules.append(Rule(f"slowest over fastest client's first PCM, {kind}", f"{FAIREST}",
                              found, medians[-1] <= FAIREST * medians[0]))  # fmt: skip
    return rules


def _nearest(turns: Sequence[Heard]) -> list[bool]:
    """Returns for each turn whether its sound is nearest to its own answer."""
    recogniser = Recogniser()
    answers = list(dict.fromkeys(heard.asked for heard in turns))
    found = []
    for heard in turns:
        said = recogniser.words(heard.samples, RATE_HZ)
        distances = {answer: word_errors(answer.split(), said) for answer in answers}
        found.append(distances[heard.asked] == min(distances.values()))
    return found
