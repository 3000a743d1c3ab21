"""Tells when memory ran out, whichever library noticed it and in whatever words, and what helps.

This module has no heavy imports: it must be in memory before memory runs out.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from omnijet.runtime.errors import OmnijetError

SIGNS = (
    "bad_alloc",  # C++
    "failed to allocate memory",  # ONNX Runtime's arena
    "cannot allocate memory",  # the system, errno 12
    "can't allocate memory",  # torch
    "unable to allocate",  # numpy
    "out of memory",  # CUDA
    "cudaerrormemoryallocation",
    "failed to map segment",  # the loader of shared libraries
    "can't start new thread",  # Python: there is no room for its stack
    "pthread_create failed",
)
"""What libraries write, in small letters."""

LIGHTER = (
    "ask for less: smaller pictures (max_pixels), fewer frames of a clip (max_frames), a shorter "
    "conversation (context_limit bounds it), no speech (speech=False); a bundle of "
    "`omnijet quantize` takes less, too"
)
"""What helps a model that answers, by its names in Python."""
_LONGEST = 300


class OutOfMemory(OmnijetError):
    """Memory ran out in the middle of the work."""


def ran_out(error: BaseException) -> bool:
    """Returns whether memory ran out, by an error or what caused it."""
    return any(
        isinstance(one, MemoryError)
        or getattr(one, "errno", None) == errno.ENOMEM
        or any(sign in str(one).lower() for sign in SIGNS)
        for one in _chain(error)
    )


def out_of_memory(
    error: BaseException, what: str = "memory ran out", where: object = None, fix: str = LIGHTER
) -> OutOfMemory:
    """Returns the error for one of which `ran_out` is true.

    Args:
        what: in place of the error's own words, if it is of a library.
        fix: in place of `LIGHTER`; an error that has a way out of its own keeps it.
    """
    if isinstance(error, OutOfMemory):
        kept = error.fix if error.fix not in (None, LIGHTER) else fix
        return OutOfMemory(error.what, where=error.where, got=error.got, fix=kept)
    if isinstance(error, OmnijetError):
        return OutOfMemory(f"memory ran out: {error.what}", where=error.where or where,
                           got=error.got, fix=fix)  # fmt: skip
    return OutOfMemory(what, where=where, got=_said(error), fix=fix)


def _said(error: BaseException) -> str:
    """Returns the words of a library from where they tell of memory."""
    text = " ".join(str(error).split()) or type(error).__name__
    found = [place for sign in SIGNS if (place := text.lower().find(sign)) > 0]
    start = min(found, default=0)
    return text[start if start > _LONGEST // 2 else 0 :][:_LONGEST]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
