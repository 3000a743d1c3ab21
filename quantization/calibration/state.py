"""The progress of a calibration in one file, from which an interrupted run resumes."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from omnijet.quantization.numerics.statistics import Statistics
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.leftovers import leftover

_log = logging.getLogger(__name__)

Place = tuple[str, str]
"""A graph and one of its activations."""

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


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
        staged = path.with_name(f"{path.name}.part")
        with leftover(lambda: staged.unlink(missing_ok=True)):
            try:
                with staged.open("wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
                os.replace(staged, path)
            except BaseException:
                staged.unlink(missing_ok=True)
                raise

    @staticmethod
    def resume(path: Path, key: str) -> CalibrationState:
        """Returns what a run with the same key saved, or an empty state."""
        if not path.exists():
            return CalibrationState(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                if header["key"] != key:
                    _log.warning(
                        "%s: this belongs to another calibration; starting from the beginning",
                        path,
                    )
                    return CalibrationState(key)
                arrays: list[dict[str, Array]] = [{} for _ in header["places"]]
                for member in file.files:
                    number, _, name = member.partition("/")
                    if name:
                        arrays[int(number)][name] = file[member]
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
