"""Every verb reads hard-linked folders and those of a hub's cache, and changes no file in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.export import stages
from tests.command import Capture, answer
from tests.layouts import LAYOUTS, Layout, contents, inodes
from tests.traces import sharing_tracer

SHORT = {
    "check": (),
    "check --deep": (),
    "inspect": (),
    "bench": ("--runs", "1", "--text-tokens", "3", "--codes", "4"),
    "profile": ("--scenario", "text", "--runs", "1", "--warmup", "0"),
}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.mark.parametrize("verb", SHORT)
def test_verbs_that_write_no_bundle(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, verb: str, layout: Layout
) -> None:
    bundle = layout(nano[1], tmp_path)
    before = contents(tmp_path)
    command, *flags = verb.split()
    assert cli.main([command, str(bundle), *flags, *SHORT[verb]]) == 0
    assert contents(tmp_path) == before
    capsys.readouterr()


def test_run_answers_the_same(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture, layout: Layout
) -> None:
    bundle = layout(nano[1], tmp_path)
    found, usual = (answer(capsys, one, "--text", "hello") for one in (bundle, nano[1]))
    assert found["text"] == usual["text"] and found["codes"] == usual["codes"]


@pytest.mark.parametrize(
    "options",
    [("--recipe", "orin-int4", "--data", "none"),
     ("--recipe", "cpu-int8", "--items", "2", "--max-text-tokens", "2", "--max-codes", "3")],
    ids=["plain", "calibrated"],
)  # fmt: skip
def test_quantize_reads_one_and_replaces_one(
    nano: tuple[Path, Path], tmp_path: Path, layout: Layout, options: tuple[str, ...]
) -> None:
    """OUT shares no file with its source, and what it replaces keeps its other names."""
    for part in ("source", "out"):
        (tmp_path / part).mkdir()
    original = Path(shutil.copytree(nano[1], tmp_path / "original"))
    bundle, out = layout(original, tmp_path / "source"), layout(original, tmp_path / "out")
    before, kept = contents(tmp_path / "source"), contents(original)
    blobs = {k: v for k, v in contents(tmp_path / "out").items() if "/blobs/" in k}
    command = ["quantize", str(bundle), str(out), *options, "--force"]
    assert cli.main(command) == 0
    assert contents(tmp_path / "source") == before and contents(original) == kept
    after = contents(tmp_path / "out")
    assert {k: v for k, v in after.items() if "/blobs/" in k} == blobs
    assert not inodes(bundle) & inodes(out)
    assert cli.main(["check", str(out)]) == 0


def test_export_reads_checkpoints_bases_and_adapters(
    nano: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    from tests.export.peft_adapters import write_adapter

    checkpoint, bundle = nano
    monkeypatch.setattr(stages, "traced_graphs", sharing_tracer(bundle.parent / "traces"))
    adapter = write_adapter(
        checkpoint, tmp_path / "adapter", 3, r=2, target_modules=r"thinker\.model\..*q_proj"
    )
    tuned = Path(shutil.copytree(checkpoint, tmp_path / "tuned"))
    (tuned / "tokenizer.json").unlink()
    laid = {}
    for name, folder in (("tuned", tuned), ("base", checkpoint), ("adapter", adapter)):
        (tmp_path / "laid" / name).mkdir(parents=True)
        laid[name] = layout(folder, tmp_path / "laid" / name)
    before = contents(tmp_path / "laid")
    out = tmp_path / "bundle"
    command = ["export", str(laid["tuned"]), str(out), "--base", str(laid["base"])]
    assert cli.main([*command, "--adapter", str(laid["adapter"])]) == 0
    assert contents(tmp_path / "laid") == before
    assert not inodes(out) & inodes(tmp_path / "laid")
    assert cli.main(["check", str(out)]) == 0
