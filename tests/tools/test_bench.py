"""The benchmark's arithmetic: ratios, table, plot, the section of a document, profiles, memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages
from tests.command import Capture
from tools.bench import __main__ as bench
from tools.bench import peers, report, where
from tools.bench.made import Makes
from tools.bench.parts import alone
from tools.bench.parts.first_sound import guided, prompt_of
from tools.bench.parts.memory import rows_of
from tools.bench.parts.setting import Setting
from tools.bench.parts.table import PARTS, part_of
from tools.bench.plot import plot
from tools.bench.rates import Rates
from tools.bench.results import Part, Results
from tools.bench.row import LLAMA, Row
from tools.bench.table import cells, number, table

STEP = Row("a step", "tokens/s", 20.0, 25.0, "1 GB", {LLAMA: 16.0})
LOAD = Row("a load", "s", 3.0)
SOUND = Row("a sound", "ms", 200.0, 160.0, "9 GFLOP", {"transformers": 500.0})
RATES = {"read": 34e9, "f32": 100e9, "int8": 400e9}


def results(*rows: Row) -> Results:
    parts = {"decode": Part.of(rows, 61.0), "prefill": Part.of((), 1.0, "exit code 1")}
    return Results("full", "2 x CPU", dict(RATES), parts)


# -- rows -----------------------------------------------------------------------------


def test_ratios_follow_the_unit() -> None:
    assert STEP.of_floor == pytest.approx(1.25) and SOUND.of_floor == pytest.approx(1.25)
    assert STEP.times_as_fast(LLAMA) == pytest.approx(1.25)
    assert SOUND.times_as_fast("transformers") == pytest.approx(2.5)
    assert LOAD.of_floor is None


def test_a_row_of_the_table() -> None:
    assert cells(STEP) == (
        "a step", "20.0 tokens/s", "25.0", "1.25 x", "llama.cpp 16.0", "**1.25**", "",
    )  # fmt: skip
    assert cells(LOAD) == ("a load", "3.00 s", "", "", "", "", "")


@pytest.mark.parametrize(
    ("value", "text"), [(1234, "1,234"), (99.96, "100.0"), (1.234, "1.23"), (0.0123, "0.012")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_part_that_failed_is_in_the_table() -> None:
    lines = table(results(STEP)).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "failed: exit code 1" in lines[-1] and lines[-1].startswith("| prefill")


def test_kernels_are_timed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"INPUTS": 256, "OUTPUTS": 64, "FILLED": 64, "SPILLED_BYTES": 1 << 17, "SECONDS": 0}
    for name, value in small.items():
        monkeypatch.setattr(alone, name, value)
    assert alone.product(4, 128).bytes == 16 * 64 * (128 + 2 * 4)
    assert alone.values().bytes == 1 << 17
    found = alone.alone(Setting("full", Makes(tmp_path), tmp_path, Rates(**RATES)))
    assert [row.floor for row in found] == [34.0] * 7
    assert all(row.ours > 0 and row.is_rate for row in found)


# -- files ----------------------------------------------------------------------------


def test_results_come_back(tmp_path: Path) -> None:
    before = results(STEP, LOAD, SOUND)
    before.write(tmp_path / "deep" / "full.json")
    assert Results.read(tmp_path / "deep" / "full.json") == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parts": {"a": {"rows": [{"x": 1}]}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(OmnijetError, match="no results of the benchmark"):
        Results.read(tmp_path / "r.json")


def test_figures_of_another_machine_do_not_count(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "full.json"
    results(STEP).write(path)
    begun = bench.begun("full", path, again=False)
    assert not begun.parts and min(begun.rates.values()) > 0
    assert "begun anew" in capsys.readouterr().err
    kept = replace(begun, parts={"decode": Part.of([STEP], 1.0)})
    kept.write(path)
    assert bench.begun("full", path, again=False) == kept
    assert not bench.begun("full", path, again=True).parts


def test_every_part_is_a_function() -> None:
    for size, names in PARTS.items():
        for name in names:
            assert callable(part_of(size, name)), (size, name)


def test_an_unknown_part_is_refused(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        bench.main(["full", "--rows", "decade", "--results", str(tmp_path / "r.json")])
    assert "there is no part 'decade'" in capsys.readouterr().err


def test_a_part_that_fails_leaves_the_others(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "r.json"
    options = ["middle", "--rows", "load", "--bundle", str(tmp_path / "none")]
    options += ["--results", str(path), "--folder", str(tmp_path / "made")]
    assert bench.main(options) == 1
    assert Results.read(path).parts["load"].fault == "exit code 1"
    assert "failed: exit code 1" in capsys.readouterr().out


# -- the document ---------------------------------------------------------------------


def test_a_section_is_replaced_between_its_marks(tmp_path: Path, capsys: Capture) -> None:
    begin, end = report.marks("full")
    document = tmp_path / "B.md"
    document.write_text(f"# B\n{begin}\nold\n{end}\nafter\n")
    results(STEP).write(tmp_path / "r.json")
    (tmp_path / "pictures").mkdir()
    given = ["--document", str(document), "--pictures", str(tmp_path / "pictures")]
    for _ in range(2):  # the second time it finds its own
        assert report.main([str(tmp_path / "r.json"), *given]) == 0
    text = document.read_text()
    assert "old" not in text and text.startswith(f"# B\n{begin}\nMeasured ")
    assert text.endswith(f"{end}\nafter\n") and text.count("| a step |") == 1
    assert "](pictures/bench-full.svg)" in text
    assert (tmp_path / "pictures" / "bench-full.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("text", ["", "{begin}", "{end}{begin}", "{begin}{end}{begin}{end}"])
def test_a_document_without_marks_is_left(text: str) -> None:
    begin, end = report.marks("full")
    with pytest.raises(OmnijetError, match="no place for this table"):
        report.placed(text.format(begin=begin, end=end), "full", "new")


def test_the_plot_is_a_picture() -> None:
    raced = Row("a reply of <b>", "s", 2.0, peers={"transformers": 5.0})
    root = ElementTree.fromstring(plot(results(STEP, LOAD, SOUND, raced)))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a reply of <b>" in texts and "a load" not in texts
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    widths = [float(one.attrib["width"]) for one in bars[:2]]
    assert widths[0] / widths[1] == pytest.approx(STEP.times_as_fast(LLAMA), rel=1e-3)


def test_nothing_to_draw_is_no_picture() -> None:
    assert plot(results(LOAD)) == ""


# -- peers ----------------------------------------------------------------------------


def test_a_peer_that_is_not_installed(tmp_path: Path, capsys: Capture) -> None:
    assert peers.python_of("llama", tmp_path) is None
    assert peers.main(["list", "--folder", str(tmp_path)]) == 0
    assert "llama-cpp-python==0.3.36" in (said := capsys.readouterr().out)
    assert "MIT" in said and "not installed" in said


def test_a_peer_of_another_version_is_not_taken(tmp_path: Path) -> None:
    python = tmp_path / "llama" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 0.3.1 0.19.0\n")
    python.chmod(0o755)
    assert peers.python_of("llama", tmp_path) is None
    python.write_text("#!/bin/sh\necho 0.3.36 0.19.0\n")
    assert peers.python_of("llama", tmp_path) == python


# -- parts ----------------------------------------------------------------------------


def test_memory_adds_up() -> None:
    mega = 10**6
    found = {
        "started": {"RssAnon": 50 * mega, "RssFile": 60 * mega},
        "loaded": {"RssAnon": 450 * mega, "RssFile": 900 * mega},
        "caches": 100 * mega,
        "peak": {"RssAnon": 800 * mega, "RssFile": 1000 * mega},
        "files": {"graphs/a.weights": 700 * mega, "tables/e.npy": 200 * mega},
        "rows": 4000,
        "codes": 100,
    }
    whole, *parts = rows_of("3B", found)
    assert whole.ours == pytest.approx(1.8)
    assert sum(part.ours for part in parts) == pytest.approx(whole.ours)
    assert [round(part.ours, 2) for part in parts] == [0.7, 0.2, 0.1, 0.05, 0.4, 0.1, 0.25]


def test_presets_with_at_least_nine_guided_evaluations() -> None:
    assert guided("exact") == 36 and guided("balanced") == 12 and guided("fast") < 9


def test_a_prompt_has_the_wanted_length(trained: tuple[Path, Path]) -> None:
    with Omni.open(trained[1]) as omni:
        asked = prompt_of(omni, 144)
        assert omni.model.prompt(parse_messages(asked)).input_ids.size == 144


# -- where the time goes ----------------------------------------------------------------


def event(name: str, kind: str, us: float) -> dict[str, object]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": {"op_name": kind}}


def test_shares_join_layers_and_leave_the_first_run_out() -> None:
    known = {"a": where.Node("layers.*.up", 100), "b": where.Node("layers.*.up", 100)}
    events = [event("a", "MatMul", 9e9), event("b", "MatMul", 9e9), event("c/fused", "Gelu", 9e9)]
    for us in (10.0, 30.0, 20.0):
        events += [
            event("a", "MatMul", us),
            event("b", "MatMul", 2 * us),
            event("c/fused", "Gelu", 1),
        ]
    first, second = where.shares(events, known)
    assert (first.kind, first.part, first.calls, first.us, first.bytes) == (
        "MatMul", "layers.*.up", 2, 60.0, 200,
    )  # fmt: skip
    assert (second.kind, second.part, second.us) == ("Gelu", "", 1.0)


def test_nodes_know_their_weights(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "layers.3.up.weight")
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["layers.3.up.weight"], ["t"], name="unpack"),
            helper.make_node("MatMul", ["x", "t"], ["y"], name="product"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 64))],
        [weight],
    )
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph), path)
    for source in (str(path), path.read_bytes()):
        found = where.nodes(source)
        assert found["product"].part == "layers.*.up.weight"
        assert found["product"].bytes >= 64 * 64 * 4


def test_where_prints_the_operators(trained: tuple[Path, Path], capsys: Capture) -> None:
    assert where.main([str(trained[1]), "thinker_step", "--filled", "20", "--runs", "2"]) == 0
    out = capsys.readouterr().out
    assert "decoder.layers.*.qkv.weight" in out and "together" in out


def test_rows_survive_json() -> None:
    assert Row(**json.loads(json.dumps(STEP.to_json()))) == STEP
