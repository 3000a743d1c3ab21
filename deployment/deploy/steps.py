"""The steps of a deployment: the command of each, its inputs, and what it makes.

What a step makes appears whole or not at all, and its command goes on with what was finished when
it was cut. So a step needs to know only what its output is, and whether its inputs are those of
the last time.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from omnijet.deployment.deploy import keys
from omnijet.deployment.deploy.folder import read_whole
from omnijet.deployment.deploy.order import Order
from omnijet.deployment.deploy.verb import Ran
from omnijet.deployment.deploy.work import Work
from omnijet.deployment.planner.model import HUB_NAMES
from omnijet.runtime.bundle.manifest import FILE_NAME as MANIFEST
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, parsed
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.profiling.record import FILE_NAME as PROFILE

MOST_BYTES = 64 << 20  # of a report of a step


class Step(ABC):
    """One step.

    Attributes:
        name: the verb of `omnijet` that does it.
        codes: exit codes with which it has done its work.
        on_device: whether the device does it if one is named.
    """

    name: ClassVar[str]
    codes: ClassVar[frozenset[int]] = frozenset({0})
    on_device: ClassVar[bool] = False

    @abstractmethod
    def arguments(self, work: Work) -> list[str]:
        """Returns the command line after `omnijet`."""

    @abstractmethod
    def inputs(self, work: Work) -> dict[str, Any]:
        """Returns all that the output depends on, in the types of JSON."""

    @abstractmethod
    def output(self, work: Work) -> str:
        """Returns what tells the output from another one; "": there is none."""

    def idle(self, work: Work) -> str | None:
        """Returns why this machine leaves the step out; None: it does not."""
        return None

    def save(self, work: Work, ran: Ran) -> dict[str, Any]:
        """Keeps what the command printed; returns facts for the report."""
        return {}

    def key(self, work: Work) -> str:
        return keys.digest({"step": self.name, **self.inputs(work)})


class Plan(Step):
    """Says whether it fits, and how fast it will be."""

    name = "plan"

    def arguments(self, work: Work) -> list[str]:
        order = work.order
        context = [f"--context={order.context}"] if order.context else []
        return [
            "plan", f"--target={order.target}", f"--recipe={order.recipe}", *context,
            f"--preset={order.preset}", "--format=json", "--", self._model(work),
        ]  # fmt: skip

    def inputs(self, work: Work) -> dict[str, Any]:
        order = work.order
        return {
            "model": keys.content(self._config(work)), "target": order.target,
            "recipe": [order.recipe, keys.content(order.recipe)], "context": order.context,
            "preset": order.preset, "code": keys.code("deployment/planner", "engines/targets"),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        return _hash(read_whole(work.folder.plan, MOST_BYTES))

    def save(self, work: Work, ran: Ran) -> dict[str, Any]:
        found = _printed(ran.result)
        write_whole(work.folder.plan, ran.result.encode(), follow_link=False)
        faults = list(map(str, found.get("faults", ())))
        if faults and not work.order.anyway:
            raise OmnijetError(
                "this does not fit on the device",
                where=f"{work.order.checkpoint} with recipe {work.order.recipe}",
                expected=work.order.machine.title,
                got="\n".join(faults),
                fix="omnijet plan MODEL --target T --fit ranks what fits: another --recipe, a "
                "shorter --context, --no-speech; --anyway goes on as it is",
            )
        return {"faults": faults, "warnings": list(map(str, found.get("warnings", ())))}

    def _model(self, work: Work) -> str:
        is_known = knows_before_export(work.order)
        return work.order.checkpoint if is_known else str(work.folder.float)

    def _config(self, work: Work) -> str:
        folder = Path(self._model(work))
        names = ("config.json", MANIFEST)
        return next((str(folder / one) for one in names if (folder / one).is_file()), str(folder))


class Export(Step):
    """Turns the checkpoint into a float bundle."""

    name = "export"

    def arguments(self, work: Work) -> list[str]:
        order, target = work.order, self._target(work)
        options = [f"--dtype={order.dtype}", f"--dit={order.dit}"]
        options += [] if order.speech else ["--no-speech"]
        options += ["--force"] if target.exists() else []
        return ["export", *options, "--", order.checkpoint, str(target)]

    def inputs(self, work: Work) -> dict[str, Any]:
        order = work.order
        return {
            "checkpoint": keys.content(order.checkpoint), "dtype": order.dtype, "dit": order.dit,
            "speech": order.speech, "code": keys.code("export"),
            "versions": keys.versions(("torch", "onnx", "onnx-ir", "onnxscript")),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        manifest = work.folder.manifest(self._target(work))
        return "" if manifest is None else keys.identity(manifest)

    def _target(self, work: Work) -> Any:
        return work.folder.float if work.order.is_quantized else work.folder.bundle


class Quantize(Step):
    """Turns floats into what the recipe says."""

    name = "quantize"

    def idle(self, work: Work) -> str | None:
        return None if work.order.is_quantized else "the recipe is floats"

    def arguments(self, work: Work) -> list[str]:
        order, folder = work.order, work.folder
        _require_floats(work)
        options = [f"--recipe={order.recipe}", f"--target={order.target}"]
        options += [f"--data={order.data}"] if order.data else []
        options += [f"--items={order.items}"] if order.items else []
        options += [f"--max-text-tokens={order.text_tokens}"] if order.text_tokens else []
        options += [f"--max-codes={order.codes}"] if order.codes else []
        options += ["--low-memory"] if order.low_memory else []
        options += ["--force"] if folder.bundle.exists() else []
        return ["quantize", *options, "--", str(folder.float), str(folder.bundle)]

    def inputs(self, work: Work) -> dict[str, Any]:
        order, floats = work.order, work.floats
        return {
            "float": "" if floats is None else keys.identity(floats),
            "recipe": [order.recipe, keys.content(order.recipe)], "target": order.target,
            "data": keys.content(order.data) if order.data else "",
            "limits": [order.items, order.text_tokens, order.codes],
            "code": keys.code("quantization", "engines/lowering", "export/graphfile"),
            "versions": keys.versions(("numpy", "onnx-ir", "ml-dtypes", "onnxruntime")),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        return "" if work.made is None else keys.identity(work.made)


class Check(Step):
    """Measures what quantization cost."""

    name = "check"
    codes = frozenset({0, 1})  # 1: beyond the tolerances, which is told at the end

    def idle(self, work: Work) -> str | None:
        if not work.order.is_quantized:
            return "nothing was rounded"
        if work.order.dtype == "bf16":
            return "no processor has kernels for bf16: the engines are compared on the device"
        return None

    def arguments(self, work: Work) -> list[str]:
        order, folder = work.order, work.folder
        items = [f"--items={order.check_items}"] if order.check_items else []
        return [
            "check", "--fidelity", f"--float={folder.float}", *items, "--format=json",
            f"--html={folder.fidelity_page}", "--", str(folder.bundle),
        ]  # fmt: skip

    def inputs(self, work: Work) -> dict[str, Any]:
        made, floats = work.made, work.floats
        return {
            "bundle": "" if made is None else keys.identity(made),
            "float": "" if floats is None else keys.identity(floats),
            "items": work.order.check_items, "versions": keys.versions(("onnxruntime",)),
            "code": keys.code("quantization/fidelity", "runtime"),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        return _hash(read_whole(work.folder.fidelity, MOST_BYTES))

    def save(self, work: Work, ran: Ran) -> dict[str, Any]:
        found = _printed(ran.result)
        write_whole(work.folder.fidelity, ran.result.encode(), follow_link=False)
        return {"ok": bool(found.get("ok")), "faults": list(map(str, found.get("faults", ())))[:20]}


class Build(Step):
    """Builds the engines, or the graphs for ONNX Runtime."""

    name = "build"
    on_device = True

    def idle(self, work: Work) -> str | None:
        return work.here.cannot_build(work.order.machine)

    def arguments(self, work: Work) -> list[str]:
        order = work.order
        limit = [f"--limit=capacity={order.context}"] if self._has_limit(work) else []
        return [
            "build", f"--target={order.target}", *limit, "--format=json", "--",
            str(work.folder.bundle),
        ]  # fmt: skip

    def inputs(self, work: Work) -> dict[str, Any]:
        made = work.made
        return {
            "bundle": "" if made is None else keys.identity(made), "target": work.order.target,
            "context": work.order.context if self._has_limit(work) else 0,
            "code": keys.code("engines"), "versions": keys.versions(),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        made, target = work.made, work.order.target
        if made is None or set(made.engines.get(target, {})) != set(made.graphs):
            return ""  # some are missing
        return keys.engines_identity(made, target)

    def save(self, work: Work, ran: Ran) -> dict[str, Any]:
        names = ("state", "why", "bytes", "build_seconds", "peak_bytes", "predicted_bytes")
        return {
            graph: {name: one.get(name) for name in names}
            for graph, one in _printed(ran.result).items()
            if isinstance(one, dict)
        }

    def _has_limit(self, work: Work) -> bool:
        # graphs for ONNX Runtime take every size
        return work.order.context > 0 and work.order.machine.library != "onnxruntime"


class Profile(Step):
    """Measures how fast it talks."""

    name = "profile"
    on_device = True

    def idle(self, work: Work) -> str | None:
        return work.here.cannot_run(work.order.machine)

    def arguments(self, work: Work) -> list[str]:
        order, target = work.order, work.order.machine
        scenarios = [f"--scenario={name}" for name in order.scenarios]
        how = [f"--engines={target.name}"]
        if target.library == "onnxruntime":
            how = [] if target.device.name == "cpu" else ["--provider=cuda"]
        preset = [f"--preset={order.preset}"]
        return [
            "profile", *scenarios, f"--runs={order.runs}", *preset, *how,
            f"--out={work.folder.profile}", "--format=json", "--", str(work.folder.bundle),
        ]  # fmt: skip

    def inputs(self, work: Work) -> dict[str, Any]:
        made, order = work.made, work.order
        engines = "" if made is None else keys.engines_identity(made, order.target)
        return {
            "bundle": "" if made is None else keys.identity(made), "engines": engines,
            "asked": [list(order.scenarios), order.runs, order.preset],
            "machine": [work.here.name, work.here.platform.model, work.here.platform.gpu or ""],
            "code": keys.code("runtime"), "versions": keys.versions(),
        }  # fmt: skip

    def output(self, work: Work) -> str:
        return _hash(read_whole(work.folder.profile / PROFILE, MOST_BYTES))


STEPS: tuple[Step, ...] = (Plan(), Export(), Quantize(), Check(), Build(), Profile())
NAMES = tuple(step.name for step in STEPS)


def knows_before_export(order: Order) -> bool:
    """Returns whether a plan can be made without a download: of a folder, or of a known name."""
    name = order.checkpoint.partition("@")[0].rpartition("/")[2].lower()
    return Path(order.checkpoint).is_dir() or name in HUB_NAMES


def in_order(order: Order) -> tuple[Step, ...]:
    """Returns the steps of a deployment: an unknown checkpoint is planned after its export."""
    if knows_before_export(order):
        return STEPS
    plan, export, *rest = STEPS
    return (export, plan, *rest)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24] if content else ""


def _printed(text: str) -> Mapping[str, Any]:
    """Returns the object that a command printed; empty if it printed none."""
    try:
        found = parsed(text)
    except BadJson:
        return {}
    return found if isinstance(found, dict) else {}


def _require_floats(work: Work) -> None:
    """Refuses to round what is rounded already. Raises `OmnijetError`."""
    floats = work.floats
    if floats is not None and floats.quantization:
        raise OmnijetError(
            "the checkpoint is packed already, and is not quantized again",
            where=work.order.checkpoint,
            got=str(floats.quantization.get("recipe")),
            fix="give the same command line with --recipe floats, or a checkpoint of floats; "
            f"the exported bundle is {shell_quoted(work.folder.float)}",
        )
