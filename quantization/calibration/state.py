"""How far a calibration got, in one file: a run that was cut goes on from there."""

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

_log = logging.getLogger(__name__)

Place = tuple[str, str]
"""A graph and one of its activations."""

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(slots=True)
class CalibrationState:
    """What was seen so far.

    Attributes:
        key: of all that the statistics depend on; a state of another key is of no use.
        done: conversations answered.
    """

    key: str
    done: int = 0
    statistics: dict[Place, Statistics] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Written beside, then renamed."""
        places = sorted(self.statistics)
        header = {"key": self.key, "done": self.done, "places": places}
        arrays: dict[str, Array] = {"header": np.array(json.dumps(header))}
        for number, place in enumerate(places):
            for name, array in self.statistics[place].to_arrays().items():
                arrays[f"{number}/{name}"] = array
        staged = path.with_name(f"{path.name}.part")
        try:
            with staged.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(staged, path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    @staticmethod
    def resume(path: Path, key: str) -> CalibrationState:
        """What a run with the same key left, or a state that has seen nothing."""
        if not path.exists():
            return CalibrationState(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                if header["key"] != key:
                    _log.warning("%s: calibration of something else, it starts anew", path)
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
            _log.warning("%s: no state of a calibration (%s), it starts anew", path, error)
            return CalibrationState(key)
