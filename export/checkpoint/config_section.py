"""Reads one section of a `config.json` key by key and collects faults instead of raising."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from omnijet.runtime.files.names import shorten

_log = logging.getLogger(__name__)

_NEAR = 0.87  # two keys at least this similar suggest a misspelling
MOST = 1 << 24  # of any whole number: beyond it, listing the weights alone would fill the memory
MOST_LAYERS = 1 << 10
MOST_WINDOW = 1 << 13  # of what no weight bounds: frames or pixels that are computed at once
_MOST_SHOWN = 300  # characters of a value in a message


class Section:
    """A JSON object of the configuration and its path in the file.

    Every reader records a fault for an unsupported value and returns the default, so that
    one pass finds all faults. JSON null counts as absent.

    Args:
        data: The parsed object; anything but a dict or None is a fault.
        path: The dotted path for messages, empty for the root.
        faults: The list of faults that all sections of a file share.

    Attributes:
        valid: False once a value of this section was refused.
    """

    def __init__(self, data: Any, path: str, faults: list[str]) -> None:
        self.path = path
        self._faults = faults
        self._read: set[tuple[str, ...]] = set()  # the alternative names of each value read
        self._children: list[Section] = []
        self.valid = True
        self._data: dict[str, Any] = data if isinstance(data, dict) else {}
        if data is not None and not isinstance(data, dict):
            self.fault("", "an object", data)

    def child(self, key: str) -> Section:
        """Returns the section below `key`; an absent section is empty."""
        section = Section(self.raw(key), self._name(key), self._faults)
        self._children.append(section)
        return section

    def raw(self, *keys: str) -> Any:
        """Returns the value of the first of `keys` that is set, else None."""
        self._read.add(keys)
        return next((self._data[key] for key in keys if self._data.get(key) is not None), None)

    def unread(self) -> list[str]:
        """Returns the keys that nothing has read yet."""
        return sorted(self._data.keys() - {key for keys in self._read for key in keys})

    def is_null(self, key: str) -> bool:
        """Whether `key` is present with the value null."""
        return key in self._data and self._data[key] is None

    def fault(self, key: str, expected: object, got: object) -> None:
        """Records that the value of `key` cannot be used."""
        self.valid = False
        name = shorten(self._name(key)) or "the file"
        self._faults.append(f"{name}: expected {expected}, got {shown(got)}")

    def require(self, condition: bool, key: str, expected: object, got: object) -> None:
        """Records a fault unless `condition` holds; does nothing after an earlier fault."""
        if self.valid and not condition:
            self.fault(key, expected, got)

    def integer(self, *keys: str, default: int, least: int = 1, most: int = MOST) -> int:
        """Reads a whole number in a range; `keys` are its names, the usual one first."""
        value = self.raw(*keys)
        if value is None:
            return default
        if not is_integer(value, least, most):
            self.fault(keys[0], f"a whole number from {least} to {most}", value)
            return default
        return int(value)

    def layers(self, *keys: str, default: int) -> int:
        """Reads a number of layers."""
        return self.integer(*keys, default=default, most=MOST_LAYERS)

    def number(self, key: str, default: float) -> float:
        """Reads a positive finite number."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            self.fault(key, "a positive number", value)
            return default
        return float(value)

    def integers(self, key: str, default: Sequence[int], least: int = 1) -> tuple[int, ...]:
        """Reads a list of whole numbers from `least`, which are at most as many as layers."""
        value = self.raw(key)
        if value is None:
            return tuple(default)
        short = isinstance(value, list | tuple) and len(value) <= MOST_LAYERS
        if not short or not all(is_integer(v, least, MOST) for v in value):
            self.fault(
                key, f"a list of whole numbers from {least} to {MOST}, {MOST_LAYERS} at most", value
            )
            return tuple(default)
        return tuple(int(v) for v in value)

    def only(self, key: str, allowed: Iterable[Any]) -> None:
        """Records a fault if `key` has a value that the graphs do not implement."""
        value, known = self.raw(key), list(allowed)
        if value is not None and value not in known:
            self.fault(key, " or ".join(repr(item) for item in known), value)

    def warn_near_misses(self) -> None:
        """Logs a warning for each unread key that resembles an absent one."""
        known = {key for keys in self._read for key in keys}
        absent = [key for keys in self._read if not self._data.keys() & keys for key in keys]
        for key in sorted(self._data.keys() - known):
            for meant in difflib.get_close_matches(key, absent, n=1, cutoff=_NEAR):
                _log.warning("%s is not used; did you mean %s?", self._name(key), meant)
        for child in self._children:
            child.warn_near_misses()

    def _name(self, key: str) -> str:
        return ".".join(part for part in (self.path, key) if part)


def shown(value: Any) -> str:
    """Returns the text of a value; of a large one, only its start."""
    if isinstance(value, dict) and len(value) > _MOST_SHOWN:
        return f"an object of {len(value)} keys"
    few = value[:_MOST_SHOWN] if isinstance(value, list | tuple | str) else value
    text = repr(few)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def is_integer(value: Any, least: int, most: int) -> bool:
    """Returns whether a parsed value is a whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= most and value == int(value)
