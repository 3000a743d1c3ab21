"""Which graphs each release of ONNX Runtime runs on the CPU; nothing is imported to know it."""

from __future__ import annotations

from collections.abc import Mapping

Release = tuple[int, ...]
"""Major and minor version."""

NEWER, OLDER = "cpu", "cpu-jp62"
FORMS: Mapping[str, Release] = {NEWER: (1, 25), OLDER: (1, 23)}
"""Target of `omnijet build` -> the first release that runs what is built for it, newest first.

1.25 has TensorScatter and its Attention on the CPU; 1.23 is the newest for Python 3.10, which is
that of JetPack 6.
"""
OLDEST_RELEASE = FORMS[NEWER]
OLDEST_TEXT = ".".join(map(str, OLDEST_RELEASE))


def release_of(version: str) -> Release:
    """Returns major and minor version: `"1.23.2"` -> (1, 23); `()` where there are no numbers."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def target_of(version: str) -> str | None:
    """Returns the target whose built graphs an ONNX Runtime of this version takes; of several the
    newest. None: it is too old for all.
    """
    here = release_of(version)
    return next((target for target, oldest in FORMS.items() if here >= oldest), None)


def is_new_enough(version: str) -> bool:
    """Returns whether an ONNX Runtime of this version knows the graphs' opset."""
    return target_of(version) == NEWER
