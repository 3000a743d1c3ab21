"""What is sent to a device: the bundle without engines, the order, the journal and the results."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omnijet.deployment.deploy import keys
from omnijet.deployment.deploy.arrival import SENT
from omnijet.deployment.deploy.journal import FILE_NAME as STEPS
from omnijet.deployment.deploy.order import FILE_NAME as ORDER
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.bundle.manifest import FILE_NAME as MANIFEST
from omnijet.runtime.errors import OmnijetError


@dataclass(frozen=True, slots=True)
class Parcel:
    """Files by their names there, relative to the folder that they arrive in.

    Attributes:
        bundle: identity of the bundle.
    """

    bundle: str
    files: Mapping[str, Path]

    @staticmethod
    def of(work: Work, *, with_bundle: bool) -> Parcel:
        """Collects what is sent. The order comes last: without it, nothing has arrived.

        Raises:
            OmnijetError: the bundle is missing.
        """
        manifest, folder = work.made, work.folder
        if manifest is None:
            raise OmnijetError(
                "the bundle of the deployment is missing or damaged",
                where=folder.bundle,
                fix="give the same command line again: it is made anew",
            )
        files: dict[str, Path] = {}
        if with_bundle:
            plain = manifest.without_engines()
            files |= {f"bundle/{name}": folder.bundle / name for name in plain.files}
            files[f"bundle/{MANIFEST}"] = folder.bundle / MANIFEST
            if manifest.engines:  # they are built there
                bare = folder.scratch / "sent-manifest"
                shutil.rmtree(bare, ignore_errors=True)
                bare.mkdir()
                plain.write(bare)
                files[f"bundle/{MANIFEST}"] = bare / MANIFEST
        for name in (*SENT, STEPS):
            if (folder.root / name).is_file():
                files[name] = folder.root / name
        files[ORDER] = folder.root / ORDER
        return Parcel(keys.identity(manifest), files)

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def linked(self, place: Path) -> Path:
        """Makes a folder of links to the files, in which they have their names there."""
        shutil.rmtree(place, ignore_errors=True)
        for name, path in self.files.items():
            link = place / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        return place
