"""Reads the speakers of a checkpoint from `spk_dict.pt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from omnijet.export.checkpoint.numbers import first_odd
from omnijet.export.checkpoint.pickled_tensors import is_whole, read_tensors
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile

LONGEST_NAME = 100
MOST_VOICES = 500


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker.

    Attributes:
        name: The speaker's name.
        bos_token: The text id that opens replies in this voice.
        cond: f32[1, 192], the speaker condition of the DiT.
        ref_mel: f32[1, frames, 80], the reference mel that the ECAPA encoder reads.
    """

    name: str
    bos_token: int
    cond: Tensor
    ref_mel: Tensor


def load_voices(path: Path, dims: ModelDims) -> dict[str, Voice]:
    """Reads all speakers.

    Raises:
        OmnijetError: The file is missing or damaged, or a speaker does not fit the model.
            The error lists every fault.
    """
    try:
        data = read_tensors(path)
    except FileNotFoundError:
        raise OmnijetError(
            "the checkpoint has no voices",
            where=path,
            expected="spk_dict.pt beside the weights",
            fix="copy it from the model's hub page; fine-tunes often leave it out",
        ) from None
    except (OSError, BadFile) as error:
        raise OmnijetError(
            "the voices cannot be read",
            where=path,
            expected="tensors by name, as torch.save writes them",
            got=getattr(error, "strerror", None) or error,
            fix="download spk_dict.pt again",
        ) from error
    if not isinstance(data, dict) or not 0 < len(data) <= MOST_VOICES:
        raise OmnijetError(
            "the voices cannot be read",
            where=path,
            expected=f"1 to {MOST_VOICES} speakers by name",
            got=f"{len(data)} speakers" if isinstance(data, dict) else type(data).__name__,
            fix="download spk_dict.pt again",
        )
    faults = [fault for name, entry in data.items() for fault in _faults(name, entry, dims)]
    if faults:
        raise OmnijetError(
            "the voices do not fit the model", where=path, got="\n            ".join(faults)
        )
    return {
        name: Voice(
            name, _token(entry["bos_token"]), entry["cond"].float(), entry["ref_mel"].float()
        )
        for name, entry in data.items()
    }


def _faults(name: object, entry: Any, dims: ModelDims) -> list[str]:
    if not isinstance(name, str) or not _is_name(name):
        shown = ascii(name[:LONGEST_NAME]) if isinstance(name, str) else type(name).__name__
        return [f"{shown}: expected a name of 1 to {LONGEST_NAME} printable characters"]
    if not isinstance(entry, dict):
        return [f"{name}: expected bos_token, cond and ref_mel, got {type(entry).__name__}"]
    faults = []
    given = entry.get("bos_token")
    if not 0 <= _token(given) < dims.thinker.vocab:
        faults.append(
            f"{name}.bos_token: expected an id below {dims.thinker.vocab}, got {_kind(given)}"
        )
    reach = max(
        dilation * (kernel - 1) // 2
        for kernel, dilation in zip(dims.ecapa.kernels, dims.ecapa.dilations, strict=True)
    )
    # the encoder reflects its input at the ends, so it needs one frame more than its reach
    for key, expected, least in (
        ("cond", f"[1, {dims.dit.speaker_cond}]", (1, dims.dit.speaker_cond)),
        ("ref_mel", f"[1, {reach + 1} or more, {dims.dit.mel}]", (1, reach + 1, dims.dit.mel)),
    ):
        value = entry.get(key)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            faults.append(f"{name}.{key}: expected a tensor of floats, got {_kind(value)}")
        elif not is_whole(value):
            faults.append(f"{name}.{key}: expected a dense tensor with all of its numbers")
        elif not _fits(tuple(value.shape), least):
            faults.append(f"{name}.{key}: expected {expected}, got {list(value.shape)}")
        elif place := first_odd(value):
            faults.append(f"{name}.{key}: expected numbers, got {place}")
    return faults


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()


def _token(value: Any) -> int:
    """Returns an id that is a number or a tensor of one; -1 if it is neither."""
    if isinstance(value, Tensor) and value.numel() == 1 and is_whole(value):
        value = value.item()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < 1 << 63 or value != value // 1:
        return -1
    return int(value)


def _fits(shape: tuple[int, ...], least: tuple[int, ...]) -> bool:
    """Whether the first and last axes are equal and the axes between are long enough."""
    if len(shape) != len(least) or (shape[0], shape[-1]) != (least[0], least[-1]):
        return False
    return all(found >= minimum for found, minimum in zip(shape, least, strict=True))


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return str(value.dtype)
    return str(value) if isinstance(value, float) or _is_short(value) else type(value).__name__


def _is_short(value: object) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 64
