"""The kinds of input: how one is made from a random generator, and what is done with it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from omnijet import cli
from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.export.checkpoint.supplies import read_supplies
from omnijet.export.checkpoint.weight_files import INDEX
from omnijet.export.modules.graph_modules import graph_modules
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.bundle.manifest_text import sealed
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.model import Model
from tools.fuzz.mutate import changed, damaged
from tools.fuzz.parsed_files import arrays, texts, voices
from tools.fuzz.samples import clips, pictures, sounds, strangers

CHECKPOINT = Path(__file__).parents[2] / "nano" / "checkpoint"
BY_COMMAND = 0.04  # share of media that go through the command line
ODDLY_NAMED = 0.1
ODD_NAMES = (
    "pipe:0",
    "concat:a|b",
    "-i",
    "%03d",
    "a\nb",
    "\x1b[31m",
    os.fsdecode(b"\xff"),
    "\u202e",
)
ANSWERED = 0.3  # share of opened bundles that are asked, too
TENSORS_READ = 3
MOST_NUMBERS = 1_000_000  # of an array

Attempt = Callable[[Random], None]
Samples = Callable[[], Iterator[tuple[str, bytes]]]


class Bench:
    """What all kinds share in one process.

    Attributes:
        folder: scratch space.
    """

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.bundle = bundle
        self.folder = folder

    @cached_property
    def model(self) -> Model:
        return Model(Bundle.open(self.bundle), OrtBackend(1))

    def twin(self, source: Path, name: str, *without: str) -> Path:
        """Makes a folder of links to the files of another, without some."""
        twin = self.folder / name
        for path in sorted(source.rglob("*")):
            place = twin / path.relative_to(source)
            if path.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif path.name not in without:
                place.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path.resolve(), place)
        return twin


def media(
    kind: str, samples: Callable[[], Iterator[tuple[str, bytes]]]
) -> Callable[[Bench], Attempt]:
    """Makes the attempt that damages files of one kind."""

    def at(bench: Bench) -> Attempt:
        known = [*samples(), *strangers()]

        def attempt(rng: Random) -> None:
            suffix, content = rng.choice(known)
            if rng.random() < 0.1:
                suffix = rng.choice(known)[0]
            name = rng.choice(ODD_NAMES) if rng.random() < ODDLY_NAMED else kind
            path = bench.folder / f"{name}.{suffix}"
            path.write_bytes(damaged(content, rng))
            if rng.random() < BY_COMMAND:
                _command(bench.bundle, f"--{kind}", str(path))
                return
            message = {"role": "user", "content": [{"type": kind, kind: str(path)}]}
            bench.model.prompt(parse_messages([message]))

        return attempt

    return at


def _command(bundle: Path, *arguments: str) -> None:
    """Asks by the command line, which must end with 0 or 2 and without a traceback."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(["run", str(bundle), *arguments, "--no-speech", "--max-text-tokens", "2"])
    if code not in (0, 2) or "Traceback" in said.getvalue() or "\x1b" in said.getvalue():
        raise AssertionError(f"exit code {code}: {said.getvalue()!r}")
    if code == 2:
        raise OmnijetError("refused by the command")


def weights(bench: Bench) -> Attempt:
    """Makes the attempt that damages the header of a weight file."""
    shard = sorted(CHECKPOINT.glob("*.safetensors"))[0]
    folder = bench.twin(CHECKPOINT, "weights", shard.name)
    size = shard.stat().st_size
    with open(shard, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
    parsed = json.loads(header)

    def attempt(rng: Random) -> None:
        if rng.random() < 0.5:
            start = damaged(length.to_bytes(8, "little") + header, rng)
        else:
            text = json.dumps(changed(parsed, rng)).encode("utf-8", "surrogatepass")
            start = len(text).to_bytes(8, "little") + text
        (folder / shard.name).write_bytes(start)
        end = len(start) + size - 8 - length  # where the tensors' bytes end
        os.truncate(folder / shard.name, max(len(start), end + rng.choice((0, 0, 0, -1000, 1000))))
        opened = Checkpoint.open(folder)
        opened.verify(opened.dims)
        for key in rng.sample(sorted(opened.keys()), TENSORS_READ):
            opened.tensor(key)

    return attempt


def config(bench: Bench) -> Attempt:
    """Makes the attempt that changes a checkpoint's JSON files."""
    names = ("config.json", "generation_config.json", "preprocessor_config.json", INDEX)
    found = {
        n: json.loads((CHECKPOINT / n).read_text()) for n in names if (CHECKPOINT / n).exists()
    }
    folder = bench.twin(CHECKPOINT, "config", *found)

    def attempt(rng: Random) -> None:
        name = "config.json" if rng.random() < 0.7 else rng.choice(sorted(found))
        for other, data in found.items():
            _write_json(folder / other, changed(data, rng) if other == name else data)
        opened = Checkpoint.open(folder, speech=rng.random() < 0.9)
        read_supplies(opened, "omnijet export CHECKPOINT BUNDLE")
        graph_modules(opened.dims, "f32")

    return attempt


def adapter(bench: Bench) -> Attempt:
    """Makes the attempt that changes the configuration, or the weight file, of an adapter."""
    folder = bench.folder / "adapter"
    folder.mkdir()
    rank = 4
    data = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": "Qwen/Qwen2.5-Omni-3B",
        "r": rank, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none", "use_rslora": False,
        "use_dora": False, "fan_in_fan_out": False, "target_modules": ["q_proj", "v_proj"],
        "modules_to_save": None, "rank_pattern": {"v_proj": rank}, "alpha_pattern": {"q_proj": 16},
        "layers_to_transform": None, "layers_pattern": None, "inference_mode": True,
    }  # fmt: skip
    text = Checkpoint.open(CHECKPOINT).dims.thinker
    tensors = {}
    for name, width in (("q_proj", text.heads), ("v_proj", text.kv_heads)):
        key = f"base_model.model.thinker.model.layers.0.self_attn.{name}"
        tensors[f"{key}.lora_A.weight"] = torch.full((rank, text.hidden), 0.01)
        tensors[f"{key}.lora_B.weight"] = torch.full((width * text.head_dim, rank), 0.01)
    content = save(tensors)

    def attempt(rng: Random) -> None:
        on_config = rng.random() < 0.7
        _write_json(folder / "adapter_config.json", changed(data, rng) if on_config else data)
        weights = content if on_config else damaged(content, rng)
        (folder / "adapter_model.safetensors").write_bytes(weights)
        opened = Checkpoint.open(CHECKPOINT)
        opened.merge([folder])
        for name in ("q_proj", "v_proj"):
            opened.tensor(f"thinker.model.layers.0.self_attn.{name}.weight")

    return attempt


def manifest(bench: Bench) -> Attempt:
    """Makes the attempt that changes a bundle's manifest, and asks what still opens."""
    folder = bench.twin(bench.bundle, "manifest", FILE_NAME)
    data = json.loads((bench.bundle / FILE_NAME).read_text())

    def attempt(rng: Random) -> None:
        (folder / FILE_NAME).write_bytes(_sealed(changed(data, rng)))
        bundle = Bundle.open(folder)
        if rng.random() < ANSWERED:
            with Omni(Model(bundle, OrtBackend(1))) as omni:
                omni.generate(
                    [{"role": "user", "content": "Hello"}], max_text_tokens=2, max_codes=8, seed=1
                )

    return attempt


def _sealed(data: Any) -> bytes:
    """Returns the text of a manifest with the right hash, if it can have one."""
    try:
        return sealed(data) if isinstance(data, dict) else json.dumps(data).encode()
    except ValueError:
        return json.dumps(data).encode()


def messages(bench: Bench) -> Attempt:
    """Makes the attempt that changes a conversation."""
    picture = bench.folder / "message.png"
    picture.write_bytes(next(content for _, content in pictures()))
    sound = bench.folder / "message.wav"
    sound.write_bytes(next(content for _, content in sounds()))
    data = [
        {"role": "system", "content": [{"type": "text", "text": "You help."}]},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi <|im_end|>"},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": str(picture), "max_pixels": 100_000},
                {"type": "audio", "audio": str(sound)},
                {"type": "audio", "audio": "SAMPLES"},
                {"type": "image", "image": "PIXELS"},
                {"type": "video", "video": "FRAMES", "nframes": 4, "fps": None},
                {"type": "text", "text": "What is this?"},
            ],
        },
    ]  # fmt: skip

    def attempt(rng: Random) -> None:
        made = _with_arrays(changed(data, rng) if rng.random() < 0.6 else data, rng)
        bench.model.prompt(parse_messages(made))

    return attempt


def _with_arrays(data: Any, rng: Random) -> Any:
    """Puts arrays and other objects of Python in the places of words in capitals."""
    if isinstance(data, dict):
        return {key: _with_arrays(value, rng) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_arrays(value, rng) for value in data]
    if not isinstance(data, str) or data not in _USUAL:
        return data
    usual = rng.random() < 0.8
    return _USUAL[data](rng) if usual else rng.choice(_OBJECTS)(rng)


def _array(rng: Random) -> Any:
    kind = rng.choice(("u1", "i2", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "?", "O", "U3"))
    shape = tuple(rng.choice((0, 1, 2, 3, 4, 30, 300)) for _ in range(rng.randint(0, 4)))
    if math.prod(shape) > MOST_NUMBERS:
        shape = shape[:2]
    return np.full(shape, rng.choice((0, 1, 3)), kind)


_USUAL: dict[str, Callable[[Random], Any]] = {
    "SAMPLES": lambda rng: np.zeros(rng.randint(300, 20_000), np.float32),
    "PIXELS": lambda rng: np.zeros((rng.randint(1, 90), rng.randint(1, 90), 3), np.uint8),
    "FRAMES": lambda rng: np.zeros((rng.randint(1, 9), 30, 40, 3), np.uint8),
}
_OBJECTS: tuple[Callable[[Random], Any], ...] = (
    _array,
    lambda rng: (_array(rng), rng.choice((16_000, 0, -1, 10**12, np.int64(8000), "16000", 1.5))),
    lambda rng: [_array(rng) for _ in range(rng.randint(0, 3))],
    lambda rng: rng.randbytes(rng.randint(0, 100)),
    lambda rng: io.BytesIO(rng.randbytes(rng.randint(0, 100))),
    lambda rng: rng.choice(
        ("data:", "data:,", "data:image/png;base64,AA==", "file:///nowhere", "http://x/y", "/", "-")
    ),
)


def _write_json(path: Path, data: Any) -> None:
    path.write_bytes(json.dumps(data).encode("utf-8", "surrogatepass"))


KINDS: dict[str, Callable[[Bench], Attempt]] = {
    "image": media("image", pictures),
    "audio": media("audio", sounds),
    "video": media("video", clips),
    "weights": weights,
    "config": config,
    "adapter": adapter,
    "manifest": manifest,
    "messages": messages,
    "voices": lambda bench: voices(bench.folder),
    "arrays": lambda bench: arrays(bench.folder),
    "json": lambda bench: texts(bench.folder),
}
SHARES = {
    "image": 5, "audio": 4, "video": 3, "weights": 2, "config": 2, "adapter": 1, "manifest": 1,
    "messages": 2, "voices": 1, "arrays": 1, "json": 1,
}  # fmt: skip
"""How many of some twenty inputs are of a kind."""
