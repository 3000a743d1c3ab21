"""The synthetic bundles that the benchmark runs on: what is missing is made, once.

They lie in one folder, named by checkpoint and recipe: `3b-f16`, `3b-cpu-int4`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from omnijet.quantization.quantize import plan_for, quantize_bundle
from omnijet.quantization.recipes import INT8_LONG, Recipe, Rule
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.errors import OmnijetError

ROOT = Path(__file__).parents[2]
HEAD = "head.weight"
CALIBRATION = ("--items", "2", "--max-text-tokens", "4", "--max-codes", "6", "--low-memory")
"""Random weights need ranges that fit, not good ones: their speed does not depend on values."""


@dataclass(frozen=True, slots=True)
class Makes:
    """A folder of checkpoints and bundles.

    Attributes:
        keeps_checkpoints: whether a checkpoint stays after its export.
    """

    folder: Path
    keeps_checkpoints: bool = False

    def checkpoint(self, preset: str) -> Path:
        path = self.folder / f"{preset}-checkpoint"
        if not path.exists():
            _omnijet("synthesize", preset, path)
        return path

    def floats(self, preset: str, dtype: str = "f16") -> Path:
        """Returns the unquantized bundle of a preset."""
        path = self.folder / f"{preset}-{dtype}"
        if not _is_bundle(path):
            checkpoint = self.checkpoint(preset)
            _omnijet("export", checkpoint, path, "--dtype", dtype)
            if not self.keeps_checkpoints:
                shutil.rmtree(checkpoint)
        return path

    def quantized(self, preset: str, recipe: str, dtype: str = "f16") -> Path:
        """Returns the bundle of a preset in a recipe, built for the CPU."""
        path = self.folder / f"{preset}-{recipe}"
        if not _is_bundle(path):
            source = self.floats(preset, dtype)
            _omnijet("quantize", source, path, "--recipe", recipe, *CALIBRATION)
        return built(path)

    def talker_in_int8(self) -> Path:
        """Returns a bundle with the 3B's Talker in INT8, built for the CPU: nothing is calibrated.

        It is that of `slim`, so that no Thinker of 6 GB is copied: the rows that the Talker reads
        are 1,024 wide there, not 2,048.
        """
        path = self.folder / "slim-talker-int8"
        if not _is_bundle(path):
            source = self.floats("slim")
            rules = [Rule("talker_step", name, INT8_LONG) for name in ("decoder.layers.*", HEAD)]
            recipe = Recipe("talker-int8", "INT8 weights in the Talker", tuple(rules), "cpu")
            quantize_bundle(source, path, recipe, plan_for(Bundle.open(source), recipe), {})
        return built(path)


def built(bundle: Path) -> Path:
    """Builds what ONNX Runtime runs fastest on this processor, if it is not there."""
    # ranges of two conversations are too narrow for the picture of the references
    _omnijet("build", bundle, "--target", "cpu", "--no-check")
    return bundle


def _is_bundle(path: Path) -> bool:
    return (path / FILE_NAME).is_file()


def _omnijet(*command: str | Path) -> None:
    words = [str(part) for part in command]
    print("$ omnijet", *words, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "omnijet", *words], cwd=ROOT)
    if done.returncode:
        raise OmnijetError(
            f"`omnijet {words[0]}` failed with exit code {done.returncode}",
            expected="a bundle to measure",
            fix="the lines above say why; --bundle FOLDER measures a bundle that exists",
        )
