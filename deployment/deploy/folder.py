"""The folder of a deployment: where its steps put what they make."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from omnijet.deployment.deploy.order import FILE_NAME
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded
from omnijet.runtime.files.disk import make_folders

MOST_LOG_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths of a deployment.

    Attributes:
        root: absolute.
    """

    root: Path

    @property
    def float(self) -> Path:
        """The float bundle; it never leaves the machine that exported it."""
        return self.root / "float"

    @property
    def bundle(self) -> Path:
        """The bundle that is deployed, with its engines."""
        return self.root / "bundle"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def fidelity(self) -> Path:
        return self.root / "fidelity.json"

    @property
    def fidelity_page(self) -> Path:
        return self.root / "fidelity.html"

    @property
    def profile(self) -> Path:
        return self.root / "profile"

    @property
    def report(self) -> Path:
        return self.root / "report.json"

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def scratch(self) -> Path:
        """Temporary files of the steps; whatever is there when a run begins is removed."""
        return self.root / ".scratch"

    @property
    def arriving(self) -> Path:
        """What another machine is sending; it is no bundle before all of it was compared."""
        return self.root / "arriving"

    def manifest(self, of: Path) -> Manifest | None:
        """Returns the manifest of one of the bundles; None: there is no whole bundle."""
        try:
            return Manifest.read(of)
        except OmnijetError:
            return None

    def begin(self) -> None:
        """Makes the folder and empties its scratch folder.

        Raises:
            OmnijetError: something else is at the place, or nobody may write there.
        """
        is_ours = any((at / FILE_NAME).is_file() for at in (self.root, self.arriving))
        if os.path.lexists(self.root) and not is_ours:
            is_empty = self.root.is_dir() and not any(self.root.iterdir())
            if not is_empty:
                raise OmnijetError(
                    "the output is there already, and is no deployment",
                    where=self.root,
                    expected="no folder, an empty one, or one that `omnijet deploy` made",
                    fix="choose another with --out",
                )
        try:
            make_folders(self.root)
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(exist_ok=True)
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            raise OmnijetError(
                "the folder of the deployment cannot be written",
                where=self.root,
                got=error.strerror or error,
                fix="choose another with --out",
            ) from error

    def end(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def log(self, step: str, text: str) -> None:
        """Adds to the log of a step what its command said; a long log begins anew."""
        path = self.logs / f"{step}.log"
        is_long = path.is_file() and path.stat().st_size > MOST_LOG_BYTES
        with path.open("w" if is_long else "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)


def usual_folder(checkpoint: str, target: str) -> Path:
    """Returns the folder of a deployment if the user names none: in the current one."""
    name = Path(checkpoint.partition("@")[0].rstrip("/")).name
    if not name.strip(".") or Path(checkpoint).expanduser().is_dir():
        name = Path(checkpoint).expanduser().resolve().name
    plain = re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"
    return Path(f"{plain}-{target}")


def read_whole(path: Path, most_bytes: int) -> bytes:
    """Returns a file's bytes; b"" if it is missing or too large."""
    try:
        return read_bounded(path, most_bytes)
    except (OSError, BadFile):
        return b""
