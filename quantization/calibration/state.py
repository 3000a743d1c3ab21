"""The progress of a calibration in one file, from which an interrupted run resumes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from omnijet.quantization.numerics.statistics import Statistics
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.files.array_file import read_archive_of_arrays
from omnijet.runtime.files.json_text import parsed
from omnijet.runtime.files.whole_file import writing_whole

_log = logging.getLogger(__name__)

Place = tuple[str, str]
"""A graph and one of its activations."""

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, OverflowError, StopIteration)


@dataclass(slots=True)
class CalibrationState:
    """Statistics of the conversations so far.

    Attributes:
        key: hash of all that statistics depend on; a file with another key is ignored.
        done: number of conversations answered.
    """

    key: str
    done: int = 0
    statistics: dict[Place, Statistics] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes a file beside `path`, then renames it."""
        places = sorted(self.statistics)
        header = {"key": self.key, "done": self.done, "places": places}
        arrays: dict[str, Array] = {"header": np.array(json.dumps(header))}
        for number, place in enumerate(places):
            for name, array in self.statistics[place].to_arrays().items():
                arrays[f"{number}/{name}"] = array
        with writing_whole(path, follow_link=False) as file:
            np.savez(file, allow_pickle=False, **arrays)

    @staticmethod
    def resume(path: Path, key: str) -> CalibrationState:
        """Returns what a run with the same key saved, or an empty state."""
        if not path.exists():
            return CalibrationState(key)
        try:
            found = read_archive_of_arrays(path)
            _, first = next(found)  # the header, which is written first
            header = parsed(str(first))
            if header["key"] != key:
                _log.warning(
                    "%s: this belongs to another calibration; starting from the beginning", path
                )
                return CalibrationState(key)
            arrays: list[dict[str, Array]] = [{} for _ in header["places"]]
            for member, array in found:
                number, _, name = member.partition("/")
                arrays[int(number)][name] = array
            statistics = {
                (graph, activation): Statistics.from_arrays(part)
                for (graph, activation), part in zip(header["places"], arrays, strict=True)
            }
            return CalibrationState(key, int(header["done"]), statistics)
        except _UNREADABLE as error:
            _log.warning(
                "%s: this is no saved calibration (%s); starting from the beginning",
                path,
                error,
            )
            return CalibrationState(key)
