"""What an export needs of a checkpoint besides weights: voices, preprocessing, texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from omnijet.export.checkpoint.folder import Checkpoint, unusable
from omnijet.export.checkpoint.texts import CHAT_TEMPLATES, read_chat_template
from omnijet.export.checkpoint.tokenizer_file import read_tokenizer
from omnijet.export.checkpoint.voices import Voice, load_voices
from omnijet.runtime.bundle.dims_rules import preprocessing_faults
from omnijet.runtime.bundle.folder import TOKENIZER
from omnijet.runtime.bundle.preprocessing import CONFIG as PREPROCESSOR
from omnijet.runtime.bundle.preprocessing import NESTED_CONFIG, Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import NoTemporaryFolder
from omnijet.runtime.prompt.chat import render_chat
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.shortage import OutOfMemory

T = TypeVar("T")

SPEAKERS = "spk_dict.pt"
_PUBLISHED = {2048: "Qwen/Qwen2.5-Omni-3B", 3584: "Qwen/Qwen2.5-Omni-7B"}
"""The published model by the Thinker's width."""


@dataclass(frozen=True, slots=True)
class Supplies:
    """What the files of a checkpoint give beside its weights.

    Attributes:
        voices: The speakers by name; empty without a voice.
        preprocessing: Sizes and limits of media.
        tokenizer: The text of `tokenizer.json`.
        chat_template: The text of the template.
        origins: The folder of each of these.
    """

    voices: dict[str, Voice]
    preprocessing: Preprocessing
    tokenizer: str
    chat_template: str
    origins: dict[str, Path]


def read_supplies(checkpoint: Checkpoint, export: str) -> Supplies:
    """Reads all of it, and checks the weights' headers.

    Args:
        checkpoint: The checkpoint, with its base if it has one.
        export: The command `omnijet export CHECKPOINT BUNDLE`, for messages.

    Raises:
        OmnijetError: Lists every fault of every file.
    """
    dims = checkpoint.dims
    faults: list[str] = []
    lacking: list[str] = []
    origins: dict[str, Path] = {}

    def read(what: str, names: tuple[str, ...], reader: Callable[[Path], T]) -> T | None:
        path = checkpoint.file(*names)
        if path is None:
            lacking.append(" or ".join(names))
            return None
        origins[what] = path.parent
        try:
            return reader(path)
        except (NoTemporaryFolder, OutOfMemory):
            raise
        except OmnijetError as error:
            faults.extend(_lines(path.name, error))
            return None

    preprocessing = read(
        "preprocessor",
        (PREPROCESSOR, NESTED_CONFIG),
        lambda path: Preprocessing.from_preprocessor_config(checkpoint.json(path.name)),
    )
    if preprocessing is not None:
        faults += preprocessing_faults(preprocessing, dims)
    tokenizer = read("tokenizer", (TOKENIZER,), read_tokenizer)
    template = read("chat template", CHAT_TEMPLATES, lambda path: _template(checkpoint, origins))
    voices: dict[str, Voice] | None = {}
    if dims.has_voice:
        voices = read("voices", (SPEAKERS,), lambda path: load_voices(path, dims))
    absent = checkpoint.absent_parts
    lines = [f"{name} is missing" for name in lacking]
    lines += [*faults, *checkpoint.faults(dims)]
    if template is None and not lacking:
        lacking.append("a chat template")
    if lines or voices is None or preprocessing is None or tokenizer is None or template is None:
        raise unusable(checkpoint.folder, lines, _way_out(checkpoint, export, lacking, absent))
    return Supplies(voices, preprocessing, tokenizer, template, origins)


def base_command(checkpoint: Checkpoint, export: str) -> str:
    """Returns the command that takes what is missing from the model that was tuned."""
    base = _PUBLISHED.get(checkpoint.dims.thinker.hidden, "BASE")
    return f"{export} --base {base}"


def _template(checkpoint: Checkpoint, origins: dict[str, Path]) -> str:
    """Reads the template of the checkpoint, or that of its base; notes which. Renders it once."""
    text = None
    if checkpoint.base is not None:
        try:
            text = read_chat_template(checkpoint.folder)
        except OmnijetError:  # a tokenizer_config.json need not have one
            origins["chat template"] = checkpoint.base
    if text is None:
        text = read_chat_template(checkpoint.base or checkpoint.folder)
    render_chat(parse_messages([{"role": "user", "content": "Who are you?"}]), text)
    return text


def _way_out(checkpoint: Checkpoint, export: str, lacking: list[str], absent: list[str]) -> str:
    if not lacking and not absent:
        return "download the checkpoint again"
    if checkpoint.base is not None:
        return "pass the model that it was tuned from, complete, with --base"
    ways = [f"if it is a fine-tune: {base_command(checkpoint, export)}"]
    if set(absent) & {"Talker", "token2wav"} or SPEAKERS in lacking:
        ways.append(f"without a voice: {export} --no-speech")
    return "; ".join(["download the checkpoint again", *ways])


def _lines(name: str, error: OmnijetError) -> list[str]:
    found = str(error.got).strip().split("\n") if error.got is not None else [error.what]
    return [f"{name}: {line.strip()}" for line in found]
