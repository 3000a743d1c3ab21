"""LoRA adapters: values equal to PEFT's merge, and messages for what cannot be merged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnijet.cli import main
from omnijet.export import stages
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.bundle.manifest import Manifest
from tests.export.peft_adapters import merged_by_peft, write_adapter
from tests.traces import sharing_tracer

LINEAR = r".*(q_proj|v_proj|down_proj|attn\.q|fc1|lm_head|to_q|thinker_to_talker_proj)"
CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "linear": (False, {"target_modules": LINEAR, "r": 4, "lora_alpha": 16}),
    "thinker alone": (True, {"target_modules": ["q_proj", "k_proj", "lm_head"], "r": 8}),
    "patterns": (True, {
        "target_modules": ["q_proj", "k_proj", "fc2"], "r": 4,
        "rank_pattern": {r"layers\.0\.self_attn\.q_proj": 6, "fc2": 2},
        "alpha_pattern": {"^model.layers.0.self_attn.k_proj": 32, "q_proj": 5},
    }),
    "rslora": (False, {"target_modules": LINEAR, "r": 9, "use_rslora": True}),
    "dora": (False, {"target_modules": LINEAR, "r": 4, "lora_alpha": 8, "use_dora": True}),
    "all biases": (True, {"target_modules": ["q_proj", "fc1"], "r": 4, "bias": "all"}),
    "own biases": (True, {"target_modules": ["q_proj", "fc1"], "r": 4, "bias": "lora_only"}),
    "lora bias": (True, {"target_modules": ["q_proj", "fc1"], "r": 4, "lora_bias": True}),
    "replaced": (True, {
        "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head", "ln_post"],
    }),
    "embedding": (True, {"target_modules": ["embed_tokens", "v_proj"], "r": 4}),
    "dora embedding": (True, {"target_modules": ["embed_tokens"], "r": 4, "use_dora": True}),
    "convolutions": (True, {"target_modules": ["conv1", "conv2", "patch_embed.proj"], "r": 4}),
    "dora convolution": (True, {"target_modules": ["conv2"], "r": 4, "use_dora": True}),
    "fan in": (True, {"target_modules": ["q_proj"], "r": 4, "fan_in_fan_out": True}),
}  # fmt: skip


def streamed(checkpoint: Path, adapters: list[Path]) -> dict[str, Tensor]:
    """Reads all weights in blocks of a few rows, as an export does."""
    opened = Checkpoint.open(checkpoint)
    opened.merge(adapters)
    values = {}
    for key in opened.keys():  # noqa: SIM118 (a checkpoint is no mapping)
        rows = opened.entry(key).shape[0]
        step = max(1, rows // 3)
        blocks = [opened.rows(key, i, min(i + step, rows)) for i in range(0, rows, step)]
        values[key] = torch.cat(blocks)
    return values


def roundings_apart(ours: Tensor, theirs: Tensor, *addends: Tensor) -> Tensor:
    """Returns differences in steps of the dtype, at the size of the largest addend or sum."""
    size = torch.stack([value.double().abs() for value in (theirs, *addends)]).amax(0)
    step = torch.exp2(torch.floor(torch.log2(size.clamp_min(1e-30)))) * torch.finfo(ours.dtype).eps
    return (ours.double() - theirs.double()).abs() / step


def assert_equal(
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    base: dict[str, Tensor],
    between: dict[str, Tensor] | None = None,
    steps: float = 1,
) -> None:
    """Compares all weights that PEFT's merge changes, and prints the figures."""
    changed = [key for key in theirs if key in base and not torch.equal(base[key], theirs[key])]
    assert changed
    kept = {key for key in base if torch.equal(base[key], ours[key])}
    assert kept.isdisjoint(changed) and {*kept, *changed} == set(base)
    for dtype in {base[key].dtype for key in changed}:
        equal, total, worst = 0, 0, 0.0
        for key in changed:
            if base[key].dtype is not dtype:
                continue
            assert ours[key].dtype is dtype and theirs[key].dtype is dtype, key
            apart = roundings_apart(ours[key], theirs[key], base[key], (between or base)[key])
            equal += int((apart == 0).sum())
            total += apart.numel()
            worst = max(worst, float(apart.max()))
        print(f"{dtype}: {total} values, {equal / total:.4%} equal, {worst:.2f} steps apart")
        # products in f32 are summed in another order
        assert worst <= (steps if dtype is not torch.float32 else 8)
        assert equal / total > (0.99 if steps == 1 else 0.7) or dtype is torch.float32


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_peft(shallow: Path, tmp_path: Path, case: str) -> None:
    thinker, config = CASES[case]
    adapter = write_adapter(shallow, tmp_path / "adapter", 1, thinker=thinker, **config)
    _, theirs = merged_by_peft(shallow, [adapter], thinker=thinker)
    # PEFT rounds the product for an embedding before it is added, too
    steps = 1.5 if case == "embedding" else 1
    assert_equal(streamed(shallow, [adapter]), theirs, streamed(shallow, []), steps=steps)


@pytest.mark.parametrize("dora", [False, True])
def test_several_are_stacked_as_by_peft(shallow: Path, tmp_path: Path, dora: bool) -> None:
    adapters = [
        write_adapter(
            shallow, tmp_path / str(seed), seed, thinker=True, r=seed + 2, lora_alpha=16,
            target_modules=["q_proj", "o_proj"] if seed else ["q_proj"], use_dora=dora,
        )
        for seed in range(2)
    ]  # fmt: skip
    _, theirs = merged_by_peft(shallow, adapters, thinker=True)
    between = streamed(shallow, adapters[:1])
    # PEFT rounds after each
    assert_equal(streamed(shallow, adapters), theirs, streamed(shallow, []), between, 2)


def test_a_bundle_is_that_of_the_checkpoint_that_peft_merged(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, exported = trained
    adapter = write_adapter(
        checkpoint, tmp_path / "my adapter", 3, r=4, use_rslora=True,
        target_modules=r"(thinker|talker)\..*(q_proj|v_proj|down_proj|attn\.q|fc1|lm_head)",
    )  # fmt: skip
    model, _ = merged_by_peft(checkpoint, [adapter])
    model.save_pretrained(tmp_path / "merged")
    monkeypatch.setattr(stages, "traced_graphs", sharing_tracer(exported.parent / "traces"))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert main(["export", str(checkpoint), str(ours), "--adapter", str(adapter)]) == 0
    said = re.search(
        rf"adapter {re.escape(str(adapter))}: (\d+ layers, rank 4)\n", capsys.readouterr().out
    )
    assert said
    stages.export_bundle(tmp_path / "merged", theirs, base=checkpoint)
    mine, other = Manifest.read(ours), Manifest.read(theirs)
    (merged,) = mine.provenance["adapters"]
    assert merged["name"] == "my adapter" and merged["merged"] == said[1]
    assert mine.files.keys() == other.files.keys()
    changed = Manifest.read(exported).files
    assert mine.files["graphs/talker_step.weights"] != changed["graphs/talker_step.weights"]
    unlike = [name for name in mine.files if mine.files[name] != other.files[name]]
    print(f"{len(mine.files) - len(unlike)} of {len(mine.files)} files are equal byte for byte")
    for name in unlike:  # sums in f32 may have another order on another processor
        a, b = (np.fromfile(folder / name, np.uint8) for folder in (ours, theirs))
        assert a.size == b.size and (a != b).mean() < 1e-3, name
