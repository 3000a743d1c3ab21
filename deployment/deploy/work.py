"""What all steps of a deployment share."""

from __future__ import annotations

from dataclasses import dataclass

from omnijet.deployment.deploy.folder import Folder
from omnijet.deployment.deploy.here import Here
from omnijet.deployment.deploy.journal import Journal
from omnijet.deployment.deploy.order import Order
from omnijet.runtime.bundle.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Work:
    """A deployment at work on one machine.

    Attributes:
        here: this machine.
        host: another machine that goes on where the device must; "": none is named.
    """

    order: Order
    folder: Folder
    journal: Journal
    here: Here
    host: str = ""

    @property
    def made(self) -> Manifest | None:
        """The manifest of the bundle that is deployed."""
        return self.folder.manifest(self.folder.bundle)

    @property
    def floats(self) -> Manifest | None:
        """The manifest of the float bundle; None where it is not, as on a device."""
        return self.folder.manifest(self.folder.float)
