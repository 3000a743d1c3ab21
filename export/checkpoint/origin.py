"""The files that an export reads, as they were when it began."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from omnijet.export.checkpoint.folder import Checkpoint
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.stamp import Stamp, stamps
from omnijet.runtime.errors import OmnijetError

MADE_WITH = ("omnijet", "torch", "onnx", "onnx-ir", "onnxscript")


@dataclass(frozen=True, slots=True)
class Origin:
    """Files of a checkpoint, of its base and its adapters.

    Attributes:
        files: the stamp of each file by its folder and its name.
    """

    files: dict[Path, dict[str, Stamp]]

    @staticmethod
    def of(checkpoint: Checkpoint, adapters: Iterable[Path]) -> Origin:
        """Reads the stamps of all files now."""
        folders = [checkpoint.folder, *([checkpoint.base] if checkpoint.base else []), *adapters]
        return Origin({folder: stamps(folder, _names(folder)) for folder in folders})

    def key(self, precision: Precision, dims: ModelDims) -> str:
        """Returns the hash of all that the graphs depend on, in 16 digits."""
        facts = {
            # the order counts: adapters are merged one after another
            "files": [
                [str(folder.resolve()), sorted((name, stamp[:4]) for name, stamp in of.items())]
                for folder, of in self.files.items()
            ],
            "precision": precision,
            "dims": dims.to_json(),
            "code": _code(),
            "versions": {name: version(name) for name in MADE_WITH},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def require_unedited(self) -> None:
        """Checks that the files are still those of the beginning.

        Raises:
            OmnijetError: some were edited or replaced, so that the bundle would mix two
                checkpoints.
        """
        for folder, before in self.files.items():
            now = stamps(folder, before)
            edited = [
                name for name, stamp in before.items() if not stamp.has_content_of(now.get(name))
            ]
            if edited:
                raise OmnijetError(
                    "the checkpoint was edited while it was exported",
                    where=folder,
                    expected="the files that were there when the export began",
                    got=", ".join(sorted(edited)[:5]),
                    fix="run the same command again, when nothing writes there any more",
                )


def _names(folder: Path) -> list[str]:
    """Returns the files in a folder; checkpoints have no folders of their own."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@cache
def _code() -> str:
    """Returns the sha256 of the exporter, because it changes what is made."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
