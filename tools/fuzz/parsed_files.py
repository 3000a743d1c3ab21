"""Kinds of input that are one small file: voices, arrays, and JSON as a text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.voices import load_voices
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.array_file import mapped_array, read_archive_of_arrays
from omnijet.runtime.files.bounded import BadFile
from omnijet.runtime.files.json_text import read_json
from tools.fuzz.mutate import changed, damaged

Attempt = Callable[[Random], None]
SPEAKERS = ("cond", "ref_mel", "bos_token")


def voices(folder: Path) -> Attempt:
    """Makes the attempt that damages the speakers, or saves odd ones."""
    dims = read_dims(preset("nano"), None, "nano")
    path = folder / "spk_dict.pt"

    def saved(**odd: Any) -> bytes:
        fine = {
            "bos_token": 7,
            "cond": torch.ones(1, dims.dit.speaker_cond),
            "ref_mel": torch.zeros(1, 50, dims.dit.mel),
        }
        file = io.BytesIO()
        torch.save({"Ann": {**fine, **odd}, "Bo": fine}, file)
        return file.getvalue()

    content = saved()

    def attempt(rng: Random) -> None:
        if rng.random() < 0.7:
            path.write_bytes(damaged(content, rng))
        else:
            path.write_bytes(saved(**{rng.choice(SPEAKERS): _odd(rng)}))
        load_voices(path, dims)

    return attempt


def _odd(rng: Random) -> Any:
    many = rng.choice((0, 1, 7, 10**6, 10**10))
    return rng.choice(
        (
            lambda: torch.zeros(1, 1, 80).expand(1, many, 80),
            lambda: torch.empty(1, many, device="meta"),
            lambda: torch.ones(1, 64).to_sparse(),
            lambda: torch.tensor(rng.choice((7, 7.5, float("nan"), float("inf"), True))),
            lambda: [[[]]],
            lambda: {"x": torch.ones(1)},
            lambda: rng.choice((None, -1, 10**30, 1e308, float("nan"), "7", b"7")),
        )
    )()


def arrays(folder: Path) -> Attempt:
    """Makes the attempt that damages a table, or an archive of arrays."""
    array = np.arange(240, dtype=np.float32).reshape(3, 80)
    single, archive = io.BytesIO(), io.BytesIO()
    np.save(single, array)
    np.savez(archive, allow_pickle=False, header=np.array("{}"), **{"0/rows": array})

    def attempt(rng: Random) -> None:
        path = folder / "array"
        try:
            if rng.random() < 0.5:
                path.write_bytes(damaged(single.getvalue(), rng))
                mapped_array(path, "float32", (3, 80)).sum()
            else:
                path.write_bytes(damaged(archive.getvalue(), rng))
                list(read_archive_of_arrays(path))
        except BadFile as error:
            raise OmnijetError(str(error)) from error

    return attempt


def texts(folder: Path) -> Attempt:
    """Makes the attempt that damages JSON, which Python's own reader then reads alike."""
    data = {"a": [1, -2.5e3, {"b": '[{\\"ä😀'}], "c": {"d": None, "e": [True, [[]], "\u0000"]}}

    def attempt(rng: Random) -> None:
        text = json.dumps(changed(data, rng), ensure_ascii=rng.random() < 0.5)
        content = text.encode("utf-8", "surrogatepass")
        path = folder / "text.json"
        path.write_bytes(damaged(content, rng) if rng.random() < 0.7 else content)
        try:
            found = read_json(path)
        except BadFile as error:
            raise OmnijetError(str(error)) from error
        assert found == json.loads(path.read_bytes())

    return attempt
