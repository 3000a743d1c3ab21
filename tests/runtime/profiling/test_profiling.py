"""The profiler's own arithmetic: percentiles, shares, floors, rules, trace and comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import Span
from runtime.errors import OmnijetError
from runtime.profiling import trace
from runtime.profiling.advice import advise
from runtime.profiling.compare import compare
from runtime.profiling.floor import Floor
from runtime.profiling.machine import UNKNOWN, Machine, memory_bytes
from runtime.profiling.measure import Result, StepSpread, stall_ms, until
from runtime.profiling.record import BundleFacts, Profile, Settings
from runtime.profiling.scenarios import SCENARIOS, chosen
from runtime.profiling.spread import Spread

MACHINE = Machine("d", "p", 2, "s", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 1, {"numpy": "2"})


def flat(value: float, count: int = 5) -> Spread:
    return Spread(count, value, value, value, value, value)


def result(pcm: float = 100.0, graph_us: float = 80.0, host_us: float = 20.0) -> Result:
    step = StepSpread(flat(graph_us + host_us), flat(graph_us), flat(host_us))
    return Result(
        10, 5, 8, 0.16, False, {}, {"first_pcm": flat(pcm)}, {"dit": 0.2 * pcm, "other": 0.8 * pcm},
        {"dit": flat(20.0), "thinker_decode": flat(30.0)}, {"thinker_decode": step},
        {"rtf": flat(0.5), "codes_per_s": flat(200.0)}, flat(0.0), 10**8,
    )  # fmt: skip


def profile(outcome: Result, name: str = "text") -> Profile:
    settings = Settings(5, 1, 0, "", "onnxruntime-cpu")
    floors = {name: {"thinker_decode": Floor("bytes", 1e6, 1e10)}}
    said = tuple(advise(name, outcome, floors[name]))
    return Profile(
        MACHINE, BundleFacts("b", "f32", "0" * 64), settings, {name: outcome}, floors, said
    )


def test_percentiles_interpolate() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(5, 1.0, 3.0, 4.6, 4.96, 5.0)


def test_a_listener_waits_for_the_latest_chunk() -> None:
    assert stall_ms([]) == stall_ms([(300.0, 0.0), (400.0, 200.0)]) == 0
    assert stall_ms([(300.0, 0.0), (600.0, 200.0), (650.0, 400.0)]) == 100


def test_an_instant_belongs_to_what_the_sample_waits_for() -> None:
    spans = [
        Span("talker_decode", 10, 40), Span("thinker_decode", 20, 30), Span("dit", 35, 50),
        Span("vocoder", 55, 90),
    ]  # fmt: skip
    shares = until(spans, 60)
    assert shares == {
        "other": 15,
        "talker_decode": 15,
        "thinker_decode": 10,
        "dit": 15,
        "vocoder": 5,
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["dit", "vocoder", "x"]), st.floats(0, 50), st.floats(0, 50))
    ),
    st.floats(0, 60),
)
def test_shares_add_up(spans: list[tuple[str, float, float]], end: float) -> None:
    made = [Span(stage, begin, begin + took) for stage, begin, took in spans]
    assert sum(until(made, end).values()) == pytest.approx(end)


_MS = st.floats(0, 1e6)
_TRACKS = st.lists(
    st.builds(
        trace.Track,
        st.text(),
        st.lists(st.builds(lambda n, b, d: Span(n, b, b + d), st.text(), _MS, _MS)).map(tuple),
        st.dictionaries(st.text(), _MS),
    )
)


@given(_TRACKS)
def test_a_trace_comes_back(tracks: list[trace.Track]) -> None:
    back = trace.read(trace.write(tracks), "memory")
    assert [(t.name, list(t.marks), [s.stage for s in t.spans]) for t in back] == [
        (t.name, list(t.marks), [s.stage for s in t.spans]) for t in tracks
    ]
    for ours, theirs in zip(tracks, back, strict=True):
        for a, b in zip(ours.spans, theirs.spans, strict=True):
            assert b[1:] == pytest.approx(a[1:], abs=2e-6)
        assert theirs.marks == pytest.approx(ours.marks, abs=2e-6)


@pytest.mark.parametrize("text", ["", "[]", '{"traceEvents": []}'])
def test_a_foreign_trace_is_refused(text: str) -> None:
    with pytest.raises(OmnijetError, match="not a trace"):
        trace.read(text, "x.json")


def test_a_profile_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile(result()).to_json()))
    assert Profile.read(path) == Profile.read(tmp_path) == profile(result())


@pytest.mark.parametrize(
    "change", [{"format": "x"}, {"version": 2}, {"scenarios": {"text": {}}}, {"machine": 1}]
)
def test_a_damaged_profile_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**profile(result()).to_json(), **change}))
    with pytest.raises(OmnijetError) as refused:
        Profile.read(path)
    assert next(iter(change)) in str(refused.value) and "profile.json" in str(refused.value)


def test_only_what_is_beyond_the_tolerance_is_worse() -> None:
    before = profile(result())
    assert not compare(before, profile(result(pcm=109.0)), 0.1).regressed
    worse = compare(before, profile(result(pcm=111.0)), 0.1)
    assert worse.regressed and not compare(profile(result(pcm=111.0)), before, 0.01).regressed
    assert [c.metric for c in worse.changes if c.verdict == "worse"] == ["first_pcm"]


def test_fewer_codes_a_second_are_worse() -> None:
    slow = replace(result(), rates={"codes_per_s": flat(100.0)})
    assert compare(profile(result()), profile(slow), 0.1).regressed
    assert not compare(profile(slow), profile(result()), 0.1).regressed


def test_other_amounts_of_work_are_said_and_not_compared() -> None:
    longer = replace(result(), codes=800, stages_ms={"dit": flat(9000.0)})
    found = compare(profile(result()), profile(longer), 0.1)
    assert not found.regressed and any("amounts of work" in fact for fact in found.facts)


def test_profiles_without_a_common_scenario_are_refused() -> None:
    with pytest.raises(OmnijetError, match="no scenario in common"):
        compare(profile(result()), profile(result(), "clip"), 0.1)


@pytest.mark.parametrize(
    ("graph_us", "host_us", "rule"),
    [
        (110, 10, "bandwidth-bound"),
        (400, 10, "above-floor"),
        (200, 200, "host-bound"),
        (200, 10, ""),
    ],
)
def test_rules_speak_when_their_numbers_do(graph_us: float, host_us: float, rule: str) -> None:
    floors = {"thinker_decode": Floor("bytes", 1e6, 1e10)}  # 100 µs
    said = [a.rule for a in advise("text", result(graph_us=graph_us, host_us=host_us), floors)]
    assert said == ([rule] if rule else [])


def test_a_jetson_tells_its_power_mode_and_clocks(tmp_path: Path) -> None:
    gpu = tmp_path / "sys/class/devfreq/17000000.gpu"
    for path, text in (
        ("proc/device-tree/model", "NVIDIA Jetson Orin NX\0"),
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n"),
        ("var/lib/nvpmodel/status", "pmode:0002"),
        ("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n"),
        (f"{gpu}/cur_freq", "306000000"), (f"{gpu}/max_freq", "918000000"),
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    read = Machine.read(tmp_path)
    assert read.device == "NVIDIA Jetson Orin NX" and read.power_mode == "2 15W"
    assert read.gpu_mhz == "306 of 918" and read.jetson_release.startswith("# R36")


def test_what_is_not_told_is_unknown(tmp_path: Path) -> None:
    read = Machine.read(tmp_path)
    assert {read.power_mode, read.governor, read.cpu_mhz, read.gpu_mhz} == {UNKNOWN}
    assert memory_bytes(tmp_path) == (0, 0)


def test_an_unknown_scenario_names_its_neighbour() -> None:
    assert [s.name for s in chosen(["clip", "text", "clip"])] == ["clip", "text"]
    assert len(chosen(None)) == len(SCENARIOS) == 8
    with pytest.raises(OmnijetError, match="did you mean 'picture'"):
        chosen(["pictur"])


def test_what_runs_differ_by_among_themselves_is_no_change() -> None:
    def runs(*samples: float) -> Profile:
        outcome = replace(result(), latency_ms={"first_pcm": Spread.of(samples)})
        return profile(outcome)

    before = runs(100.0, 100.0, 140.0)
    assert not compare(before, runs(95.0, 130.0, 131.0), 0.1).regressed
    assert compare(before, runs(141.0, 150.0, 160.0), 0.1).regressed
    assert not compare(runs(141.0, 150.0, 160.0), before, 0.1).regressed
