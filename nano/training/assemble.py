"""The stage that joins the trained parts into one checkpoint in the published layout.

    python -m omnijet.nano.training.assemble

Weights have the dtypes of the published files: bfloat16 for Thinker and Talker, float32 for
token2wav.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from omnijet.export.checkpoint.tensor_layout import checkpoint_layout
from omnijet.export.synthetic.checkpoint import PREPROCESSOR
from omnijet.export.synthetic.tokenizer import write_tokenizer
from omnijet.nano.config import VOICES, config
from omnijet.nano.training.corpus import corpus
from omnijet.nano.training.dit import voice_conditions
from omnijet.nano.training.reply_speech import spoken_replies
from omnijet.nano.training.stage import stage_parser
from omnijet.nano.training.talker import VOICE_TOKEN, fold_prompt_row
from omnijet.nano.training.tokenizer import generation_config, model_dims
from omnijet.runtime.files.staging import staged_folder

CHECKPOINT = Path(__file__).parent.parent / "checkpoint"
WEIGHTS = "model.safetensors"
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}

PARTS = {
    "hearing": {"tower.": "thinker.audio_tower."},
    "sight": {"tower.": "thinker.visual."},
    "thinker": {"model.": "thinker.model.", "lm_head.": "thinker.lm_head."},
    "talker_tuned": {
        "model.": "talker.model.", "project.": "talker.thinker_to_talker_proj.",
        "head.": "talker.codec_head.",
    },
    "dit": {"": "token2wav.code2wav_dit_model."},
    "vocoder": {"": "token2wav.code2wav_bigvgan_model."},
}  # fmt: skip
"""Stage -> the prefixes of its state's names -> the prefixes in a checkpoint."""


def trained_tensors(folder: Path) -> dict[str, Tensor]:
    """Returns the checkpoint's tensors with names and dtypes of the published files."""
    found: dict[str, Tensor] = {}
    for stage, prefixes in PARTS.items():
        path = folder / f"{stage}.pt"
        state = torch.load(path, weights_only=True)["model"]
        if stage == "talker_tuned":
            state = fold_prompt_row(state)
        for name, tensor in state.items():
            for prefix, full in prefixes.items():
                if name.startswith(prefix):
                    found[full + name.removeprefix(prefix)] = tensor
                    break
    wanted = checkpoint_layout(model_dims())
    tensors = {}
    for name, entry in wanted.items():
        if name == "thinker.audio_tower.audio_bos_eos_token.weight" and name not in found:
            found[name] = torch.zeros(entry.shape)  # the model does not use it
        tensor = found[name]
        assert tuple(tensor.shape) == entry.shape, f"{name}: {tensor.shape}, not {entry.shape}"
        tensors[name] = tensor.to(DTYPES[entry.dtype]).contiguous()
    return tensors


def write_checkpoint(folder: Path, out: Path) -> Path:
    """Replaces the checkpoint folder but keeps its model card."""
    card = out / "README.md"
    kept = card.read_text(encoding="utf-8") if card.exists() else None
    tensors = trained_tensors(folder)
    dims = model_dims()
    with staged_folder(
        out, made=lambda old: [path.name for path in old.iterdir()], replace=True
    ) as staging:
        _write_json(staging / "config.json", config())
        _write_json(staging / "generation_config.json", generation_config())
        _write_json(staging / "preprocessor_config.json", PREPROCESSOR)
        write_tokenizer(staging, dims, corpus())
        torch.save(_speakers(folder), staging / "spk_dict.pt")
        save_file(tensors, staging / WEIGHTS, metadata={"format": "pt"})
        if kept is not None:
            (staging / "README.md").write_text(kept, encoding="utf-8")
    return out


def _speakers(folder: Path) -> dict[str, dict[str, Any]]:
    first = model_dims().tokens.pad + VOICE_TOKEN
    return {
        name: {
            "bos_token": first + VOICES[name],
            "cond": torch.from_numpy(cond)[None],
            "ref_mel": torch.from_numpy(mel)[None],
        }
        for name, (cond, mel) in voice_conditions(spoken_replies(folder)).items()
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _names(folder: Path) -> list[str]:
    """Returns the files of a checkpoint that is replaced: all of them are ours."""
    return [path.name for path in folder.iterdir()]


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    args = parser.parse_args()
    out = write_checkpoint(args.folder, args.out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
