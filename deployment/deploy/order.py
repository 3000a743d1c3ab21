"""What was ordered: the options of `omnijet deploy` that the result depends on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omnijet.deployment.planner.plan import FLOATS
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, read_json
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import json_shown
from omnijet.runtime.files.whole_file import write_whole

FORMAT = "omnijet-deployment-1"
FILE_NAME = "deploy.json"
CPU_DTYPE, GPU_DTYPE = "f32", "f16"


@dataclass(frozen=True, slots=True)
class Order:
    """What a deployment makes, of what, for which machine.

    Attributes:
        checkpoint: a folder, as an absolute path, or a hub id.
        recipe: the name of a recipe or the absolute path of its file; "floats": none.
        data: what is calibrated on; "": the built-in conversations.
        context: the most rows of a KV cache; 0: the target's own limit.
        items, text_tokens, codes: limits of the calibration; 0: the usual ones.
        check_items: conversations for each skill that fidelity is measured on; 0: the usual ones.
        scenarios: what is asked in the profile.
        anyway: whether the steps go on though the plan says that it does not fit.
    """

    checkpoint: str
    target: str
    recipe: str
    dtype: str
    dit: str = "f32"
    speech: bool = True
    context: int = 0
    data: str = ""
    items: int = 0
    text_tokens: int = 0
    codes: int = 0
    low_memory: bool = False
    check_items: int = 0
    scenarios: tuple[str, ...] = ()
    runs: int = 1
    preset: str = "exact"
    anyway: bool = False

    @property
    def machine(self) -> Target:
        return TARGETS[self.target]

    @property
    def is_quantized(self) -> bool:
        return self.recipe != FLOATS

    def write(self, folder: Path) -> None:
        """Writes the order into a deployment's folder."""
        data = {"format": FORMAT, **asdict(self)}
        write_whole(folder / FILE_NAME, f"{json_shown(data)}\n".encode(), follow_link=False)

    @staticmethod
    def read(folder: Path) -> Order:
        """Reads the order of a deployment's folder.

        Raises:
            OmnijetError: the folder is no deployment, or its order is damaged.
        """
        path = folder / FILE_NAME
        try:
            return _parsed(read_json(path, 1 << 20))
        except FileNotFoundError:
            raise OmnijetError(
                "this is no folder of a deployment",
                where=folder,
                expected=f"a folder with {FILE_NAME}, as `omnijet deploy CHECKPOINT` makes it",
                got="no such folder" if not folder.is_dir() else f"no {FILE_NAME} in it",
                fix="name the folder that was copied here, or begin with a checkpoint",
            ) from None
        except (OSError, BadJson, ValueError) as error:
            raise OmnijetError(
                "the order of the deployment cannot be read",
                where=path,
                got=getattr(error, "strerror", None) or error,
                fix=f"remove {FILE_NAME} and give the same command line again",
            ) from error

    def require_same_work(self, other: Order, folder: Path) -> None:
        """Refuses a folder that holds another model or one for another machine.

        Raises:
            OmnijetError: hours of other work would be replaced.
        """
        for what in ("checkpoint", "target"):
            ours, theirs = getattr(self, what), getattr(other, what)
            if ours != theirs:
                raise OmnijetError(
                    f"the folder holds the deployment of another {what}",
                    where=folder,
                    expected=ours,
                    got=theirs,
                    fix="choose another folder with --out, or remove this one: "
                    f"rm -r {shell_quoted(folder)}",
                )

    def changes(self, other: Order) -> list[str]:
        """Returns the names of the fields in which two orders differ."""
        return [
            one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)
        ]


def _parsed(data: Any) -> Order:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f'format: expected "{FORMAT}"')
    given = {name: value for name, value in data.items() if name != "format"}
    order: Order = build(Order, given, closed=True)
    if order.target not in TARGETS:
        raise ValueError(f"target: there is no {order.target!r}")
    return order


def usual_dtype(target: Target) -> str:
    """Returns the precision that a target's bundles have unless told otherwise."""
    return CPU_DTYPE if target.device.name == "cpu" else GPU_DTYPE


def absolute(source: str) -> str:
    """Returns the absolute path of what exists, and a hub id or a name as it is."""
    path = Path(source).expanduser()
    return os.path.abspath(path) if path.exists() else source
