"""Adapters that cannot be merged are refused by name, all faults at once."""

from __future__ import annotations

import json
import random
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from omnijet.cli import main
from omnijet.export.checkpoint.adapter_config import AdapterConfig, read_adapter_config
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.errors import OmnijetError

Q = "model.layers.0.self_attn.q_proj"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"],
    "base_model_name_or_path": "Qwen/Qwen2.5-Omni-3B", "rank_pattern": {}, "alpha_pattern": {},
    "use_dora": False, "use_rslora": False, "modules_to_save": None, "runtime_config": {"a": 1},
    "init_lora_weights": True, "loftq_config": {}, "fan_in_fan_out": False,
}  # fmt: skip


def parts(checkpoint: Path, rank: int = 4, name: str = Q) -> dict[str, Tensor]:
    """Returns the tensors of one layer of the Thinker."""
    out, width = Checkpoint.open(checkpoint).entry(f"thinker.{name}.weight").shape
    start = f"base_model.model.{name}"
    return {
        f"{start}.lora_A.weight": torch.ones(rank, width),
        f"{start}.lora_B.weight": torch.ones(out, rank),
    }


def write(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def refused(checkpoint: Path, *folders: Path) -> str:
    with pytest.raises(OmnijetError) as raised:
        Checkpoint.open(checkpoint).merge(folders)
    return str(raised.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected 'LORA', got 'IA3'"),
        ({"peft_type": None}, "peft_type: expected 'LORA', got None"),
        ({"use_qalora": True}, "use_qalora: expected none: this variant cannot be merged"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"use_tomorrows_lora": True}, "use_tomorrows_lora"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"r": "8"}, "r: expected a whole number from 1 to 16777216, got '8'"),
        ({"r": 0}, "r: expected a whole number"),
        ({"lora_alpha": [8]}, "lora_alpha: expected a number, got [8]"),
        ({"use_dora": "yes"}, "use_dora: expected true or false, got 'yes'"),
        ({"bias": "some"}, "bias: expected 'none' or 'all' or 'lora_only', got 'some'"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern: expected an object"),
        ({"alpha_pattern": {"(": 4}}, "alpha_pattern: expected names"),
        ({"alpha_pattern": {"(a+)+": 4}}, "alpha_pattern: expected names"),
        ({"modules_to_save": 3}, "modules_to_save: expected names, got 3"),
        ({"r": 8}, f"{Q}.lora_A is [4, 64], not [8, 64]"),
        ({"use_dora": True}, f"{Q} lacks lora_magnitude_vector"),
    ],
)
def test_configurations_are_checked(
    shallow: Path, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    folder = write(tmp_path / "adapter", parts(shallow), **config)
    assert said in refused(shallow, folder)


def test_all_faults_of_all_adapters_are_listed(shallow: Path, tmp_path: Path) -> None:
    tensors = parts(shallow)
    tensors["base_model.model.model.layers.77.mlp.up_proj.lora_A.weight"] = torch.ones(4, 8)
    tensors["base_model.model.lm_head.weight"] = torch.ones(3, 8)
    tensors["base_model.model.model.norm.lora_A.weight"] = torch.ones(4, 64)
    tensors["base_model.model.model.norm.lora_B.weight"] = torch.ones(64, 4)
    tensors[f"base_model.model.{Q}.lora_magnitude_vector"] = torch.ones(64)
    one = write(tmp_path / "one", tensors, bias=7)
    two = write(tmp_path / "two", {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 64)})
    three = write(tmp_path / "three", {})
    four = tmp_path / "four"
    four.mkdir()
    text = refused(shallow, one, two, three, four)
    for line in (
        "the adapters cannot be merged (6 faults)",
        f"{one}: bias: expected",
        f"{one}: 1 tensor without a counterpart in the checkpoint: model.layers.77.mlp.up_proj",
        "thinker.lm_head.weight is [3, 8], not [",
        "model.norm.lora_A is [4, 64], not possible: it is neither linear nor a table",
        f"{Q} has lora_magnitude_vector, of which adapter_config.json says nothing",
        f"{two}: 1 tensor of another shape or kind: lm_head lacks lora_B",
        f"{three}: adapter_model.safetensors holds no tensor",
        f"{four}: there is no adapter: no adapter_config.json",
    ):
        assert line in text, text


def test_a_pickle_is_refused_with_its_conversion(
    shallow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "adapter", {})
    (folder / "adapter_model.safetensors").unlink()
    torch.save(parts(shallow), folder / "adapter_model.bin")
    text = refused(shallow, folder)
    command = text[text.index("python -c") :].split("\n")[0]
    monkeypatch.chdir(folder)
    exec(shlex.split(command)[2], {})
    Checkpoint.open(shallow).merge([folder])


def test_packed_layers_take_no_adapter(shallow: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(shallow)
    entries = checkpoint.weights.entries
    entries[f"thinker.{Q}.qweight"] = entries.pop(f"thinker.{Q}.weight")
    folder = write(tmp_path / "adapter", {
        f"base_model.model.{Q}.lora_A.weight": torch.ones(4, 64),
        f"base_model.model.{Q}.lora_B.weight": torch.ones(64, 4),
    })  # fmt: skip
    with pytest.raises(OmnijetError, match="q_proj is packed in few bits"):
        checkpoint.merge([folder])


def test_two_adapters_may_not_replace_one_weight(shallow: Path, tmp_path: Path) -> None:
    norm = {"base_model.model.model.norm.weight": torch.ones(64)}
    folders = [write(tmp_path / str(number), norm) for number in range(2)]
    assert "thinker.model.norm.weight is replaced, but an earlier adapter" in refused(
        shallow, *folders
    )


def test_names_as_trainers_keep_them(shallow: Path, tmp_path: Path) -> None:
    plain = parts(shallow)
    kept = {key.replace(".weight", ".default.weight"): value for key, value in plain.items()}
    whole = {key.replace(f".{Q}", f".thinker.{Q}"): value for key, value in plain.items()}
    bare = {key.removeprefix("base_model.model."): value for key, value in plain.items()}
    values = []
    for number, tensors in enumerate((plain, kept, whole, bare)):
        checkpoint = Checkpoint.open(shallow)
        checkpoint.merge([write(tmp_path / str(number), tensors)])
        values.append(checkpoint.tensor(f"thinker.{Q}.weight"))
        assert checkpoint.adapters[0].summary == "1 layer, rank 4"
    assert all(torch.equal(values[0], value) for value in values[1:])
    assert not torch.equal(values[0], Checkpoint.open(shallow).tensor(f"thinker.{Q}.weight"))


def test_parts_that_speak_are_left_out_without_a_voice(shallow: Path, tmp_path: Path) -> None:
    tensors = {
        **parts(shallow),
        "base_model.model.talker.codec_head.lora_A.weight": torch.ones(4, 7),
    }
    checkpoint = Checkpoint.open(shallow, speech=False)
    checkpoint.merge([write(tmp_path / "adapter", tensors)])
    (adapter,) = checkpoint.adapters
    assert adapter.summary == "1 layer, rank 4, 1 tensor of parts that speak left out"


@pytest.mark.parametrize("base", ["Qwen/Qwen2.5-Omni-3B", "my models/base", None])
def test_an_adapter_as_checkpoint_gets_the_command(
    tmp_path: Path, base: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "my adapter", {}, base_model_name_or_path=base)
    assert main(["export", str(folder), str(tmp_path / "bundle")]) == 2
    text = capsys.readouterr().err
    words = ["BASE" if base is None else base, str(tmp_path / "bundle"), "--adapter", str(folder)]
    assert f"omnijet export {shlex.join(words)}" in text
    assert "this is a LoRA adapter, not a model" in text


def test_mutated_configurations_end_in_a_message(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "adapter_config.json"
    good = json.dumps(CONFIG)
    odd = [None, -1, 0, 1e400, "x", "(", [], {}, [[]], {"a": {}}, True, 10**30, "\ud800", 0.5]
    for number in range(600):
        if number % 2:
            data = bytearray(good.encode())
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
        else:
            changed = {**CONFIG, rng.choice([*CONFIG, "use_new", "new_config"]): rng.choice(odd)}
            path.write_text(json.dumps(changed))
        faults: list[str] = []
        try:
            config = read_adapter_config(tmp_path, faults)
        except OmnijetError:
            continue
        config.scaling_of(Q)


def test_patterns_are_those_of_peft() -> None:
    config = AdapterConfig(
        rank=8, alpha=16,
        ranks={"q_proj": 4, r"layers\.0\.mlp\.up_proj": 2, "up": 3, "^model.norm": 5},
    )  # fmt: skip
    names = [Q, "model.layers.0.mlp.up_proj", "model.layers.10.mlp.up_proj", "x.model.norm"]
    assert [config.rank_of(name) for name in names] == [4, 2, 8, 8]
    assert config.scaling_of(Q) == 4
