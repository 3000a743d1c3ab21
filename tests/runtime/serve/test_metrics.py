"""What happened is counted once, under names of ours only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from omnijet.runtime.assistant.assistant import Assistant
from omnijet.runtime.assistant.busy import Busy
from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.assistant.record import TurnRecord
from omnijet.runtime.omni import Omni
from omnijet.runtime.serve.app import make_app
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.metrics import Metrics
from omnijet.runtime.serve.sensors import Reading, find_sensors
from tests.runtime.assistant.asking import ask

TURN = TurnRecord(
    "chat", "sess_1", "turn_1", queued_ms=250, total_ms=1250,
    latency_ms={"first_text": 300, "first_pcm": 450, "speech_end": 150},
    timings_ms={"thinker_prefill": 20, "thinker_decode": 50},
    prompt_tokens=120, reused_tokens=20, text_tokens=5, codes=100, audio_s=2.0,
    finish_reason="stop",
)  # fmt: skip


def figures(metrics: Metrics) -> dict[str, float]:
    """Returns every sample by its name with its labels."""
    page, kind = metrics.render()
    assert kind.startswith("text/plain")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = "".join(f",{name}={text}" for name, text in sorted(sample.labels.items()))
            assert sample.name + labels not in found
            found[sample.name + labels] = sample.value
    return found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(sensors=list)


def test_a_turn_is_measured(metrics: Metrics) -> None:
    metrics.observe(TURN)
    found = figures(metrics)
    assert found["omnijet_turns_total,finish=stop,kind=chat"] == 1
    for name, value in (
        ("first_text_seconds", 0.3),
        ("first_pcm_seconds", 0.45),
        ("speech_end_to_pcm_seconds", 0.15),
        ("queue_wait_seconds", 0.25),
        ("real_time_factor", 0.5),
        ("prefill_tokens_per_second", 5000.0),
        ("decode_tokens_per_second", 100.0),
    ):
        assert found[f"omnijet_{name}_count"] == 1
        assert found[f"omnijet_{name}_sum"] == pytest.approx(value)
    assert found["omnijet_first_pcm_seconds_bucket,le=0.5"] == 1
    assert found["omnijet_first_pcm_seconds_bucket,le=0.3"] == 0
    counts = {"prompt": 120, "reused": 20, "text": 5, "codes": 100}
    assert {what: found[f"omnijet_tokens_total,what={what}"] for what in counts} == counts
    assert found["omnijet_audio_seconds_total"] == 2


def test_ends_are_told_apart(metrics: Metrics) -> None:
    plain = replace(TURN, latency_ms={}, timings_ms={}, audio_s=0.0)
    metrics.observe(replace(plain, finish_reason="cancelled"))
    metrics.observe(replace(plain, finish_reason=None, error="it failed"))
    metrics.observe(replace(plain, finish_reason=None, refused="queue", error="full"))
    metrics.observe(replace(plain, finish_reason="time"))
    found = figures(metrics)
    for end in ("cancelled", "failed", "refused", "time"):
        assert found[f"omnijet_turns_total,finish={end},kind=chat"] == 1
    assert found["omnijet_refused_total,reason=queue"] == 1
    assert found["omnijet_refused_total,reason=closing"] == 0
    assert found["omnijet_first_pcm_seconds_count"] == found["omnijet_real_time_factor_count"] == 0
    assert found["omnijet_tokens_total,what=prompt"] == 3 * 120  # a refused turn was fed nothing


def test_no_word_of_a_client_becomes_a_label(metrics: Metrics) -> None:
    odd = 'x"} 1\nowned 1'
    metrics.observe(replace(TURN, kind=odd, finish_reason=odd, session=odd))  # type: ignore[arg-type]
    metrics.refused(odd)
    page, _ = metrics.render()
    assert b"owned" not in page
    found = figures(metrics)
    assert found["omnijet_turns_total,finish=other,kind=other"] == 1
    assert found["omnijet_refused_total,reason=other"] == 1


def test_two_servers_of_one_process_do_not_mix() -> None:
    one, other = Metrics(list), Metrics(list)
    one.observe(TURN)
    assert "omnijet_turns_total,finish=stop,kind=chat" in figures(one)
    assert figures(other)["omnijet_turns_total,finish=stop,kind=chat"] == 0


def test_an_assistant_is_watched(omni: Omni, metrics: Metrics) -> None:
    assert "omnijet_queue_length" not in figures(metrics)
    with Assistant(omni, Limits(sessions=2)) as assistant:
        metrics.watch(assistant)
        seat, _ = assistant.sit(), assistant.sit()
        with pytest.raises(Busy):
            assistant.sit()
        with assistant.turn("realtime", seat):
            found = figures(metrics)
            assert (found["omnijet_turns_running"], found["omnijet_queue_length"]) == (1, 0)
            assert found["omnijet_sessions,state=open"] == 2
            assert found["omnijet_sessions_refused_total"] == 1
        ask(assistant, seat, "Hello")
        found = figures(metrics)
        assert found["omnijet_turns_total,finish=cancelled,kind=realtime"] == 1
        assert found["omnijet_first_pcm_seconds_count"] == 1
    assert found["process_resident_memory_bytes"] > 1e6
    del assistant
    figures(metrics)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_server_gives_its_figures_to_whoever_has_the_key(omni: Omni, is_open: bool) -> None:
    with Assistant(omni) as assistant:
        app = make_app(ServeConfig(api_key="key", metrics_open=is_open), assistant)
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        ask(assistant, assistant.sit(), "Hello")
        assert client.get("/metrics").status_code == (200 if is_open else 401)
        answer = client.get("/metrics", headers={"Authorization": "Bearer key"})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [one for each in text_string_to_metric_families(answer.text) for one in each.samples]
    turns = [one.value for one in samples if one.name == "omnijet_turns_total"]
    assert sum(turns) == 1


def test_sensors_are_told() -> None:
    readings = [Reading("gpu0", 51.0, 120.5), Reading("VDD_GPU_SOC", watts=3.25)]
    found = figures(Metrics(lambda: readings))
    assert found["omnijet_gpu_temperature_celsius,sensor=gpu0"] == 51
    assert found["omnijet_power_watts,sensor=gpu0"] == 120.5
    assert found["omnijet_power_watts,sensor=VDD_GPU_SOC"] == 3.25


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_jetson_says_what_its_gpu_is_like(tmp_path: Path) -> None:
    """As an Orin with JetPack 6 has it."""
    zones, monitors = "sys/class/thermal", "sys/class/hwmon"
    write(tmp_path, {
        f"{zones}/thermal_zone0/type": "cpu-thermal\n", f"{zones}/thermal_zone0/temp": "48250\n",
        f"{zones}/thermal_zone1/type": "gpu-thermal\n", f"{zones}/thermal_zone1/temp": "46593\n",
        f"{zones}/thermal_zone2/type": "gpu-off\n", f"{zones}/thermal_zone2/temp": "\n",
        f"{monitors}/hwmon0/name": "pwmfan\n", f"{monitors}/hwmon0/in1_label": "fan\n",
        f"{monitors}/hwmon3/name": "ina3221\n",
        f"{monitors}/hwmon3/in1_label": "VDD_GPU_SOC\n",
        f"{monitors}/hwmon3/in1_input": "19104\n", f"{monitors}/hwmon3/curr1_input": "208\n",
        f"{monitors}/hwmon3/in2_label": "VDD_CPU_CV\n",
        f"{monitors}/hwmon3/in2_input": "19104\n", f"{monitors}/hwmon3/curr2_input": "broken\n",
    })  # fmt: skip
    assert find_sensors(tmp_path)() == [
        Reading("gpu-thermal", celsius=46.593),
        Reading("VDD_GPU_SOC", watts=pytest.approx(3.973632)),
    ]


def test_a_machine_without_sensors_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert find_sensors(tmp_path)() == []


def test_a_workstation_asks_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cards:
        NVML_TEMPERATURE_GPU = 0

        @staticmethod
        def nvmlInit() -> None: ...

        @staticmethod
        def nvmlDeviceGetCount() -> int:
            return 3

        @staticmethod
        def nvmlDeviceGetHandleByIndex(number: int) -> int:
            if number == 1:
                raise RuntimeError("lost")
            return number

        @staticmethod
        def nvmlDeviceGetTemperature(card: int, kind: int) -> int:
            return 40 + card

        @staticmethod
        def nvmlDeviceGetPowerUsage(card: int) -> int:
            if card == 2:
                raise RuntimeError("not supported")
            return 71_500

    monkeypatch.setitem(__import__("sys").modules, "pynvml", Cards)
    assert find_sensors(tmp_path)() == [Reading("gpu0", 40.0, 71.5), Reading("gpu2", 42.0, None)]
