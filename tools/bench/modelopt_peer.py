"""The part of `tools.bench.modelopt` that runs in an environment with nvidia-modelopt alone.

    python modelopt_peer.py FOLDER

FOLDER holds `bank.onnx`, `rows.npz` (input name -> f32[rows, inputs] to calibrate on) and
`jobs.json`, a list of {name, skip, **options of modelopt.onnx.quantization.quantize}. The program
writes `NAME.onnx` for each job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from modelopt.onnx.quantization import quantize
from onnxruntime.quantization.calibrate import CalibrationDataReader


class OneBatch(CalibrationDataReader):
    """All rows of all inputs in one batch, because each input has its own number of rows."""

    def __init__(self, rows: dict[str, np.ndarray]) -> None:
        self._rows = rows
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

    def get_first(self) -> dict[str, np.ndarray]:
        return self._rows

    def rewind(self) -> None:
        self._left = iter([self._rows])


def main(folder: Path) -> None:
    rows = dict(np.load(folder / "rows.npz"))
    for job in json.loads((folder / "jobs.json").read_text()):
        name, skip = job.pop("name"), job.pop("skip")
        quantize(
            str(folder / "bank.onnx"),
            calibration_data_reader=OneBatch(rows),
            calibration_eps=["cpu"],
            output_path=str(folder / f"{name}.onnx"),
            high_precision_dtype="fp32",
            nodes_to_exclude=skip,
            log_level="ERROR",
            **job,
        )
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
