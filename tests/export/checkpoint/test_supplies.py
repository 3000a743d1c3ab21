"""Checkpoints as people have them: tuned in part, saved by transformers 5, named freely."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.supplies import base_command, read_supplies
from omnijet.export.stages import export_bundle
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from tests.export.checkpoint.version5 import save_as_version_5

EXPORT = "omnijet export tuned out"
SINGLE = "model.safetensors"
pytestmark = pytest.mark.usefixtures("shared_traces")


@pytest.fixture(scope="module")
def tensors(shallow: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in shallow.glob("*.safetensors"):
        found.update(load_file(path))
    return found


@pytest.fixture
def tuned(shallow: Path, tmp_path: Path) -> Path:
    """Returns a copy without weights."""
    folder = tmp_path / "tuned"
    shutil.copytree(shallow, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(OmnijetError) as caught:
        work()
    return str(caught.value)


def thinker_alone(folder: Path, tensors: dict[str, Tensor], prefix: str) -> None:
    """Makes what `Qwen2_5OmniThinkerForConditionalGeneration.save_pretrained` writes."""
    config = {"model_type": "qwen2_5_omni_thinker", **config_of(folder)["thinker_config"]}
    config["model_type"] = "qwen2_5_omni_thinker"
    write_config(folder, config)
    own = {
        prefix + key.removeprefix("thinker."): value
        for key, value in tensors.items()
        if key.startswith("thinker.")
    }
    save_file(own, folder / SINGLE)
    for name in ("spk_dict.pt", "tokenizer.json", "preprocessor_config.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("prefix", ["", "thinker."])
def test_a_thinker_takes_the_rest_from_its_base(
    shallow: Path, tuned: Path, tensors: dict[str, Tensor], prefix: str
) -> None:
    changed = dict(tensors)
    changed["thinker.model.norm.weight"] = tensors["thinker.model.norm.weight"] + 1
    thinker_alone(tuned, changed, prefix)
    checkpoint = Checkpoint.open(tuned, base=shallow)
    supplies = read_supplies(checkpoint, EXPORT)
    assert checkpoint.dims == Checkpoint.open(shallow).dims
    for key, value in changed.items():
        assert torch.equal(checkpoint.tensor(key), value)
    assert checkpoint.origins["Thinker"] == tuned and checkpoint.origins["Talker"] == shallow
    assert supplies.origins["tokenizer"] == supplies.origins["voices"] == shallow
    assert supplies.voices


def test_media_that_do_not_fit_the_encoders_are_told_before_the_export(
    shallow: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shallow, folder)
    path = folder / "preprocessor_config.json"
    changed = {"merge_size": 4, "hop_length": 401, "min_pixels": 1 << 30}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    said = refusal(lambda: read_supplies(Checkpoint.open(folder), EXPORT))
    assert "preprocessor.merge: expected 2, as the encoder has it, got 4" in said
    assert "hop is at most n_fft" in said and "image_min_pixels is at most" in said


def test_a_thinker_alone_has_no_voice_and_says_how_to_get_one(
    shallow: Path, tuned: Path, tensors: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    thinker_alone(tuned, tensors, "")
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(shallow / name, tuned)
    manifest = export_bundle(tuned, tuned.parent / "bundle", named="tuned")
    assert set(manifest.graphs) == {"audio_encoder", "vision_encoder", "thinker_step"}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "no voice" in warning and "omnijet export tuned " in warning and "--base" in warning


def test_files_of_a_thinker_alone_need_a_base(tuned: Path, tensors: dict[str, Tensor]) -> None:
    thinker_alone(tuned, tensors, "")
    message = refusal(lambda: read_supplies(Checkpoint.open(tuned), EXPORT))
    assert "tokenizer.json is missing" in message and "preprocessor_config.json" in message
    assert f"{EXPORT} --base" in message and "--no-speech" not in message


@pytest.mark.parametrize(
    ("width", "base"),
    [(2048, "Qwen/Qwen2.5-Omni-3B"), (3584, "Qwen/Qwen2.5-Omni-7B"), (128, "BASE")],
)
def test_the_command_names_the_published_model(
    tuned: Path, tensors: dict[str, Tensor], width: int, base: str
) -> None:
    save_file(tensors, tuned / SINGLE)
    checkpoint = Checkpoint.open(tuned)
    dims = checkpoint.dims
    checkpoint.dims = replace(dims, thinker=replace(dims.thinker, hidden=width))
    assert base_command(checkpoint, EXPORT) == f"{EXPORT} --base {base}"


def test_missing_voices_have_two_ways_out(tuned: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, tuned / SINGLE)
    (tuned / "spk_dict.pt").unlink()
    message = refusal(lambda: read_supplies(Checkpoint.open(tuned), EXPORT))
    assert f"{EXPORT} --base BASE" in message and f"{EXPORT} --no-speech" in message


def test_all_that_is_missing_is_said_at_once(tuned: Path, tensors: dict[str, Tensor]) -> None:
    talker = "talker.model.norm.weight"
    save_file({key: value for key, value in tensors.items() if key != talker}, tuned / SINGLE)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (tuned / name).unlink()
    torch.save({"One\n": {}, "Two": {"bos_token": -1}}, tuned / "spk_dict.pt")
    message = refusal(lambda: read_supplies(Checkpoint.open(tuned), EXPORT))
    for words in (
        "tokenizer.json is missing",
        "preprocessor_config.json or processor_config.json is missing",
        talker,
        "'One\\n': expected a name",
        "Two.bos_token",
        "Two.cond",
    ):
        assert words in message


def test_a_part_with_holes_is_not_mended_by_the_base(
    shallow: Path, tuned: Path, tensors: dict[str, Tensor]
) -> None:
    talker = "talker.model.norm.weight"
    save_file({key: value for key, value in tensors.items() if key != talker}, tuned / SINGLE)
    message = refusal(lambda: read_supplies(Checkpoint.open(tuned, base=shallow), EXPORT))
    assert talker in message and "missing" in message


def test_a_base_of_other_dimensions_is_refused(
    shallow: Path, tuned: Path, tensors: dict[str, Tensor]
) -> None:
    config = config_of(tuned)
    text = config["thinker_config"]["text_config"]
    text["intermediate_size"] += 64
    text["num_hidden_layers"] += 1
    write_config(tuned, config)
    save_file(tensors, tuned / SINGLE)
    message = refusal(lambda: Checkpoint.open(tuned, base=shallow))
    assert "thinker.ffn is" in message and "thinker.layers is 2, and 1 in the base" in message


def test_a_config_of_sections_that_are_missing(
    shallow: Path, tuned: Path, tensors: dict[str, Tensor]
) -> None:
    config = config_of(tuned)
    del config["token2wav_config"], config["thinker_config"]["vision_config"]
    config["enable_audio_output"] = False
    write_config(tuned, config)
    save_file({k: v for k, v in tensors.items() if k.startswith("thinker.")}, tuned / SINGLE)
    checkpoint = Checkpoint.open(tuned, base=shallow)
    assert checkpoint.dims == Checkpoint.open(shallow).dims
    assert read_supplies(checkpoint, EXPORT).voices


def test_a_checkpoint_of_transformers_5_makes_the_same_bundle(
    shallow: Path,
    tuned: Path,
    tensors: dict[str, Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = "token2wav.code2wav_dit_model.rotary_embed.inv_freq"
    width = 2 * tensors[key].numel()
    by_formula = 1.0 / (10000 ** (torch.arange(0, width, 2).float() / width))
    save_file({**tensors, key: by_formula}, tuned / SINGLE)
    newer = save_as_version_5(tuned, tmp_path / "newer")
    before = export_bundle(tuned, tmp_path / "before")
    assert not caplog.records
    after = export_bundle(newer, tmp_path / "after")
    assert after.files == before.files and after.preprocessor == before.preprocessor
    assert after.dims == before.dims and after.voices == before.voices
    assert "rotary frequencies" in caplog.text
    with_base = Checkpoint.open(newer, base=shallow)
    assert torch.equal(with_base.tensor(key), tensors[key])


NAMES = ("my-voice", "Voice One", "0001", "Ærø 声", "MY-VOICE", "../../up")


def test_voices_are_called_as_users_call_them(
    tuned: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(tensors, tuned / SINGLE)
    known = torch.load(tuned / "spk_dict.pt", weights_only=True)
    one = next(iter(known.values()))
    tokens = (5, torch.tensor(6), torch.tensor([7]), 8.0, torch.tensor(9.0), 10)
    torch.save(
        {name: {**one, "bos_token": token} for name, token in zip(NAMES, tokens, strict=True)},
        tuned / "spk_dict.pt",
    )
    manifest = export_bundle(tuned, tmp_path / "bundle")
    assert {name: voice.bos_token for name, voice in manifest.voices.items()} == dict(
        zip(NAMES, range(5, 11), strict=True)
    )
    files = [path.name.lower() for path in (tmp_path / "bundle" / "tables").iterdir()]
    assert len(files) == len(set(files)) == len(manifest.tables)
    bundle = Bundle.open(tmp_path / "bundle")
    for name in NAMES:
        assert np.isfinite(bundle.table(f"voice_{name}")).all()
        assert bundle.voice_id(name)[0] == name


def test_the_files_that_version_5_24_wrote_say_what_nano_s_say() -> None:
    written = Path(__file__).parent / "transformers5"
    nano = Path(__file__).parents[3] / "nano" / "checkpoint"
    read = {
        path.name: json.loads(path.read_text())
        for path in (*written.glob("*.json"), nano / "preprocessor_config.json")
    }
    newer = Preprocessing.from_preprocessor_config(read["processor_config.json"])
    assert newer == Preprocessing.from_preprocessor_config(read["preprocessor_config.json"])
    whole = json.loads((nano / "generation_config.json").read_text())
    dims = read_dims(read["config.json"], whole, "config.json")
    assert dims == Checkpoint.open(nano).dims
