"""Deployments for tests: orders, folders, and commands that write files instead of computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnijet.deployment.deploy.events import Event
from omnijet.deployment.deploy.folder import Folder
from omnijet.deployment.deploy.here import Here
from omnijet.deployment.deploy.journal import Journal
from omnijet.deployment.deploy.order import Order
from omnijet.deployment.deploy.steps import Step
from omnijet.deployment.deploy.verb import Ran
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.machine.platform import Platform

PC = Platform("x86_64", "", None, None, None, None, None, 1 << 34, 1 << 33, (3, 11))


def order(**changes: Any) -> Order:
    made = Order("nano/checkpoint", "rtx-ampere", "orin-int4", "f16", scenarios=("text",))
    return replace(made, **changes)


def work(root: Path, host: str = "", rtx: bool = True, **changes: Any) -> Work:
    """Returns a deployment at a folder, which is made."""
    root.mkdir(parents=True, exist_ok=True)
    made = order(**changes)
    folder = Folder(root)
    folder.begin()
    made.write(root)
    return Work(made, folder, Journal.read(root), Here("pc", PC, rtx), host)


def again(before: Work, **changes: Any) -> Work:
    """Returns the same deployment as another process finds it."""
    made = replace(before.order, **changes)
    return replace(before, order=made, journal=Journal.read(before.folder.root))


class Told(list[Event]):
    """Events, and questions about them."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def states(self) -> dict[str, str]:
        """The last event of each step, but for progress."""
        return {one.step: one.kind for one in self if one.kind not in ("progress", "said")}


class Writes(Step):
    """A step that writes its inputs into a file; another step's file is among them."""

    def __init__(self, name: str, after: Writes | None = None, on_device: bool = False) -> None:
        self._name, self._after, self._on_device = name, after, on_device
        self.option = "a"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._name

    @property
    def on_device(self) -> bool:  # type: ignore[override]
        return self._on_device

    def file(self, work: Work) -> Path:
        return work.folder.root / f"{self.name}.txt"

    def arguments(self, work: Work) -> list[str]:
        return [self.name, self.option, str(self.file(work))]

    def inputs(self, work: Work) -> dict[str, Any]:
        before = "" if self._after is None else self._after.output(work)
        return {"before": before, "option": self.option}

    def output(self, work: Work) -> str:
        path = self.file(work)
        return path.read_text() if path.is_file() else ""


class Commands:
    """Stands for `run_verb`: writes the file of a step, or dies before or after that.

    Attributes:
        ran: the steps whose commands ran, in order.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.dies: Callable[[str, str], BaseException | None] = lambda name, when: None
        self.code, self.said = 0, ()

    def __call__(self, arguments: Sequence[str], *rest: object) -> Ran:
        name, option, path = arguments
        self._die(name, "before")
        self.ran.append(name)
        if self.code == 0:
            Path(path).write_text(f"{name} {option}")
        self._die(name, "after")
        return Ran(self.code, "", tuple(self.said), 1.5, 1 << 20)

    def _die(self, name: str, when: str) -> None:
        fault = self.dies(name, when)
        if fault is not None:
            raise fault
