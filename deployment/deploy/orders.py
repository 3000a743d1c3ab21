"""Makes an order of a command line, or reads that of a deployment that has begun."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from omnijet.deployment.deploy.folder import Folder
from omnijet.deployment.deploy.order import FILE_NAME, Order, absolute, usual_dtype
from omnijet.deployment.deploy.work import Work
from omnijet.deployment.planner.plan import FLOATS
from omnijet.engines.targets.found import AUTO, lacking, target_here
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.quantization.recipes import recipe_named, recommended
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.lock import working_on
from omnijet.runtime.machine.platform import this_platform

USUAL_SCENARIOS, USUAL_RUNS = ("question", "text"), 3
NOTHING = "none"  # of --data: nothing is calibrated
BEGINS_ANEW = (
    "recipe", "dtype", "context", "data", "items", "max_text_tokens", "max_codes", "check_items",
    "runs", "scenario", "target", "out", "no_speech", "low_memory", "anyway",
)  # fmt: skip
"""Options of a new order, which one that goes on has already."""


def ordered(args: Namespace, usual_folder: Callable[[str, str], Path]) -> tuple[Order, Folder]:
    """Returns the order of a command line and its folder, which need not be there yet.

    Raises:
        OmnijetError: an option cannot be right; nothing is written.
    """
    if args.checkpoint is None:
        raise OmnijetError(
            "there is nothing to deploy",
            expected="a checkpoint, or --resume FOLDER",
            fix="omnijet deploy CHECKPOINT --target T",
        )
    target = _target(args.target)
    data = args.data or ""
    if data and data != NOTHING and not Path(data).expanduser().exists():
        raise OmnijetError(
            "there are no such conversations", where=f"--data {data}",
            expected="a folder of media, or a JSONL file of messages",
        )  # fmt: skip
    order = Order(
        checkpoint=absolute(args.checkpoint), target=target.name,
        recipe=_recipe(args.recipe, target), dtype=args.dtype or usual_dtype(target), dit=args.dit,
        speech=not args.no_speech, context=args.context or 0,
        data=data if data == NOTHING else absolute(data) if data else "", items=args.items or 0,
        text_tokens=args.max_text_tokens or 0, codes=args.max_codes or 0,
        low_memory=args.low_memory, check_items=args.check_items or 0,
        scenarios=tuple(args.scenario or USUAL_SCENARIOS), runs=args.runs or USUAL_RUNS,
        preset=args.preset, anyway=args.anyway,
    )  # fmt: skip
    out = args.out if args.out is not None else usual_folder(args.checkpoint, target.name)
    folder = Folder(out.absolute())
    if (folder.root / FILE_NAME).is_file():
        order.require_same_work(Order.read(folder.root), folder.root)
    return order, folder


def resumed(args: Namespace) -> tuple[Order, Folder]:
    """Returns the order of a folder, where another run or another machine has begun.

    Raises:
        OmnijetError: the folder is no deployment, or options of a new order are given.
    """
    given = [name for name in BEGINS_ANEW if getattr(args, name)]
    if args.checkpoint is not None or given:
        raise OmnijetError(
            "a deployment goes on with the order that it began with",
            where="--resume",
            got=", ".join([*["CHECKPOINT"] * (args.checkpoint is not None),
                           *(f"--{name.replace('_', '-')}" for name in given)]),
            fix="leave them out, or give CHECKPOINT and --target without --resume",
        )  # fmt: skip
    root = args.resume.absolute()
    arriving = root / "arriving"
    at = arriving if not (root / FILE_NAME).is_file() and arriving.is_dir() else root
    return Order.read(at), Folder(root)


@contextmanager
def begun(work: Work, resumes: bool) -> Iterator[None]:
    """Locks a deployment's folder, prepares it and writes the order, for the block.

    Raises:
        OmnijetError: another process works there, or something else is at the place.
    """
    with working_on(work.folder.root):
        work.folder.begin()
        if not resumes:
            work.order.write(work.folder.root)
        try:
            yield
        finally:
            work.folder.end()


def _target(name: str | None) -> Target:
    if name == AUTO:
        here = target_here(this_platform())
        if here is None:
            raise OmnijetError(
                "no target is known for this machine",
                where=f"--target {AUTO}",
                got=lacking(this_platform()),
                fix="name one: `omnijet build --list` shows them",
            )
        return TARGETS[here.name]
    if name is not None and name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name or "", TARGETS, 1)
    raise OmnijetError(
        "no target is given" if name is None else f"there is no target {name!r}",
        expected=f"--target {AUTO} for this machine, or one of " + ", ".join(TARGETS),
        fix=f"did you mean {near[0]}?" if near else "name the machine that will talk",
    )


def _recipe(name: str | None, target: Target) -> str:
    if name is None:
        return recommended(target).name
    if name == FLOATS:
        return FLOATS
    if Path(name).expanduser().is_file():
        return absolute(name)
    return recipe_named(name).name
