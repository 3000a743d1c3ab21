"""Reads tensors that `torch.save` wrote, of a file whose every instruction was looked at before.

torch's own reader runs no code either (`weights_only`), but it unpacks members of any size, makes
tensors of more elements than bytes, and byte arrays of any length.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omnijet.runtime.files.archive import UNREADABLE
from omnijet.runtime.files.bounded import BadFile, read_bounded
from omnijet.runtime.files.stored_archive import open_stored

MOST_BYTES = 64 << 20
MOST_MEMBERS = 2000
MOST_INSTRUCTION_BYTES = 1 << 18
_PICKLE = re.compile(r"[^/]+/data\.pkl")
_OPCODES = frozenset(
    ("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
     "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST",
     "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPUT",
     "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "BINPERSID", "REDUCE")
)  # fmt: skip
_NAMES = re.compile(
    r"collections OrderedDict|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)"
    r"|torch (Float|Half|BFloat16|Double|Long|Int|Short|Char|Byte|Bool)Storage"
)


def read_tensors(path: Path) -> Any:
    """Returns what `torch.save` saved, if it is dense tensors in plain containers.

    Raises:
        OSError: the file cannot be read.
        BadFile: it holds anything else, or is damaged.
    """
    content = read_bounded(path, MOST_BYTES)
    _check(content)
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (*UNREADABLE, pickle.UnpicklingError, LookupError, TypeError, ArithmeticError) as error:
        told = str(error).splitlines() or [type(error).__name__]
        raise BadFile(told[0][:200]) from error


def is_whole(value: Tensor) -> bool:
    """Returns whether a tensor is dense, in memory, and has no more elements than its bytes."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    return plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _check(content: bytes) -> None:
    if not content.startswith(b"PK\x03\x04"):
        raise BadFile("no file that torch.save writes since version 1.6")
    with open_stored(io.BytesIO(content), MOST_MEMBERS) as archive:
        instructions = [one for one in archive.infolist() if _PICKLE.fullmatch(one.filename)]
        if len(instructions) != 1 or instructions[0].file_size > MOST_INSTRUCTION_BYTES:
            raise BadFile("no data.pkl, more than one, or a very large one")
        try:
            _check_instructions(archive.read(instructions[0]))
        except BadFile:
            raise
        except UNREADABLE as error:
            raise BadFile(f"a damaged data.pkl: {error}") from error


def _check_instructions(content: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL" and not _NAMES.fullmatch(str(argument)):
            raise BadFile(f"{str(argument)[:100]!a}, and only dense tensors are read")
        if opcode.name not in _OPCODES:
            raise BadFile(f"the pickle instruction {opcode.name}, and only dense tensors are read")
