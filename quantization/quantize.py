"""Quantizes a float bundle: plans, calibrates, then writes one graph after another."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from omnijet.engines.lowering.cpu import lower
from omnijet.engines.targets.target import Target
from omnijet.export.graphfile.loading import load_graph
from omnijet.export.reference.record import lacking, with_references
from omnijet.quantization.calibration.calibrate import calibrate
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.graph_layers import layers_of
from omnijet.quantization.graph_rounding import GraphRounding, Plan
from omnijet.quantization.layers import Layer
from omnijet.quantization.memory import worker_count
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.recipes import RECIPES, Recipe, recommended
from omnijet.quantization.schemes import Scheme, needs_of
from omnijet.quantization.workers import in_turn, workers
from omnijet.runtime.bundle.checked import note_written, require_as_checked
from omnijet.runtime.bundle.contract import SPEECH_GRAPHS
from omnijet.runtime.bundle.copied import copy_as_named
from omnijet.runtime.bundle.finished import Finished
from omnijet.runtime.bundle.folder import Bundle, require_undamaged
from omnijet.runtime.bundle.manifest import (
    FILE_NAME,
    FileEntry,
    GraphEntry,
    Manifest,
    hash_file,
)
from omnijet.runtime.bundle.output import staged_bundle
from omnijet.runtime.bundle.ranges import label
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.reference.reference import file_of

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total)."""
MADE_WITH = ("omnijet", "numpy", "onnx-ir")
ROOM_OF_SCALE, ROOM_OF_LAYER = 4, 64 << 10
"""Bytes: a scale has no more, and what else a layer adds to the files has not either."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a bundle is calibrated on.

    Attributes:
        data: see `open_conversations`; None: the built-in set that fits the bundle.
        seed: seed of all random draws.
        state: file from which an interrupted run resumes; None: start from the beginning.
        limits: how much is run.
        low_memory: see `TappedBackend`.
    """

    data: Path | None = None
    seed: int = 0
    state: Path | None = None
    limits: Limits = field(default_factory=Limits)
    low_memory: bool = False


def bundle_layers(bundle: Bundle) -> list[Layer]:
    """Returns the layers of all graphs that can be quantized."""
    return [
        layer
        for graph in bundle.manifest.graphs
        for layer in layers_of(load_graph(bundle.graph(graph)), graph)
    ]


def require_float(bundle: Bundle) -> None:
    """Checks that a bundle is not quantized, so that nothing is rounded twice.

    Raises:
        OmnijetError: the bundle is quantized.
    """
    if bundle.manifest.quantization:
        raise OmnijetError(
            "the bundle is quantized already",
            where=bundle.folder,
            expected="a float bundle, as `omnijet export` writes it",
            got=f"one of recipe {bundle.manifest.quantization.get('recipe')}",
            fix="quantize the bundle that it was made of",
        )


def require_apart(source: Path, target: Path) -> None:
    """Checks that the output neither replaces the float bundle nor lies in it.

    Raises:
        OmnijetError: one folder is or contains the other.
    """
    bundle, out = source.resolve(), target.resolve()
    if bundle == out or bundle in out.parents or out in bundle.parents:
        raise OmnijetError(
            "the quantized bundle would lie in the float one, or in its place",
            where=target,
            expected=f"a folder apart from {source}",
            fix="choose another path",
        )


def plan_for(bundle: Bundle, recipe: Recipe, target: Target | None = None) -> Plan:
    """Returns the scheme of each layer that changes.

    Raises:
        OmnijetError: the bundle is quantized already, the recipe does not fit its floats or the
            target, or a rule matches no layer.
    """
    require_float(bundle)
    _check_floats(recipe, bundle, target)
    if target is not None:
        _check_target(recipe, target)
    absent = [name for name in SPEECH_GRAPHS if name not in bundle.manifest.graphs]
    return recipe.plan(bundle_layers(bundle), absent)


def _check_floats(recipe: Recipe, bundle: Bundle, target: Target | None) -> None:
    """Refuses to quantize bf16 for a CPU: CPUs have no bf16 kernels. Raises `OmnijetError`."""
    for_cpu = target is not None and target.device.name == "cpu"
    if bundle.manifest.precision == "bf16" and (for_cpu or recipe.form == "cpu"):
        raise OmnijetError(
            "a bundle in bf16 cannot be quantized for CPUs, which do not run bf16",
            where=bundle.folder,
            expected="a bundle in f32 or f16, or a recipe and a target with a GPU",
            got=f"recipe {recipe.name}" + (f", target {target.name}" if target else ""),
            fix="export the checkpoint with --dtype f32 and quantize that",
        )


def _check_target(recipe: Recipe, target: Target) -> None:
    if not recipe.runs_on(target):
        lacking: list[str] = sorted(recipe.needs - target.numbers)
        lacking = lacking or ["operators of ONNX Runtime's CPU"]
        own = recommended(target)
        able = [own, *(one for one in RECIPES.values() if one.runs_on(target) and one != own)]
        raise OmnijetError(
            f"{target.title} cannot run recipe {recipe.name}",
            where=f"target {target.name}"
            + (f", SM{target.compute_capability}" if target.compute_capability else ""),
            expected="products of floats or " + ", ".join(sorted(target.numbers)),
            got=", ".join(lacking),
            fix="use --recipe " + " or ".join(one.name for one in able),
        )


def quantize_bundle(
    source: Path,
    target: Path,
    recipe: Recipe,
    plan: Plan,
    seen: Mapping[Place, Statistics],
    *,
    origin: Mapping[str, Any] | None = None,
    force: bool = False,
    processes: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Manifest:
    """Writes `target` completely or not at all.

    Besides `seen`, each process holds layers that share an activation in memory, or a part of a
    layer. A run that ended for want of disk or memory, or was killed, is continued by the next one
    with the same arguments: finished graphs are taken over.

    Args:
        plan: the result of `plan_for`.
        seen: the result of `statistics_of`; empty: only weights are rounded, without scaling and
            compensation.
        origin: what the manifest says about calibration and budget.
        processes: how many round layers beside each other; 0: this one alone; None: as many as
            cores and memory allow. The result does not depend on it.

    Raises:
        OmnijetError: the plan needs statistics and there are none, disk or memory are too small,
            or the float bundle is edited meanwhile.
    """
    bundle = Bundle.open(source)
    require_apart(source, target)
    if not seen:
        plan = {layer: uncalibrated(layer, scheme) for layer, scheme in plan.items()}
    if processes is None:
        processes = worker_count(plan, bool(seen))
    original = bundle.manifest.without_engines()
    changed = [name for name in original.graphs if any(one.graph == name for one in plan)]
    require_whole(bundle, changed)
    written = {file for name in changed for file in _files_of(original.graphs[name])}
    written |= {file_of(name) for name in changed}  # of the floats
    key = _key(bundle, recipe.form, plan, seen)
    with staged_bundle(
        target, replace=force, needed_bytes=needed_bytes(bundle, plan), key=key
    ) as folder:
        finished = Finished(folder)
        done = finished.take_over(changed)
        files = _copy_rest(bundle, [one for one in original.files if one not in written],
                           folder, progress)  # fmt: skip
        before = sum(layer.graph in done for layer in plan)
        with ExitStack() as stack:
            rounding = GraphRounding(
                bundle, plan, seen, folder / "graphs", lower if recipe.form == "cpu" else None,
                stack.enter_context(workers(processes)) if processes else in_turn,
                lambda count: progress("quantizing layers", before + count, len(plan)),
            )  # fmt: skip
            for name, graph in rounding.graphs([one for one in changed if one not in done]):
                finished.keep(name, graph)
                done[name] = graph
        finished.put_in_place()
        for graph in done.values():
            files.update(graph.files)
        manifest = replace(
            original,
            graphs={name: done[name].entry if name in done else entry
                    for name, entry in original.graphs.items()},
            files=dict(sorted(files.items())),
            quantization={
                "recipe": recipe.name,
                "form": recipe.form,
                "needs": sorted(needs_of(plan.values())),
                "source": label(str(source.resolve()), most=4096),
                "source_manifest_sha256": original.model_sha256(),
                **(origin or {}),
                "layers": {name: done[name].report for name in changed},
            },
        )  # fmt: skip
        manifest.write(folder)
        manifest = with_references(folder, manifest, lacking(folder, manifest), progress)
        manifest.write(folder)
    note_written(target)
    return manifest


def _files_of(entry: GraphEntry) -> tuple[str, str]:
    return entry.file, entry.weights


def require_whole(bundle: Bundle, graphs: Iterable[str]) -> None:
    """Checks graphs before work on them: by their stamps where this machine has checked the bundle,
    else by their hashes.

    Raises:
        OmnijetError: a file is not the one that the manifest names.
    """
    if not require_as_checked(bundle):
        for name in graphs:
            require_undamaged(bundle.folder, bundle.manifest, name)


def uncalibrated(layer: Layer, scheme: Scheme) -> Scheme:
    """Returns the part of a scheme that needs no calibration.

    Raises:
        OmnijetError: the scheme rounds activations.
    """
    if scheme.activations is not None:
        able = [recipe.name for recipe in RECIPES.values() if recipe.rounds_weights_alone]
        raise OmnijetError(
            "activations are rounded to ranges that only a calibration knows",
            where=f"{layer.graph}: {layer.name}",
            expected="calibration data, or a recipe that rounds weights alone",
            got=str(scheme),
            fix="leave --data out, which takes the built-in conversations, or give data of your "
            f"own; without any: --recipe {' or '.join(able)}",
        )
    return Scheme(replace(scheme.weights, scaling=False, compensated=False))


def statistics_of(
    bundle: Bundle, layers: Iterable[Layer], calibration: Calibration, progress: Progress
) -> Mapping[Place, Statistics]:
    """Returns statistics of the activations of these layers while the float bundle answers.

    Raises:
        OmnijetError: the data cannot be used.
    """
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for layer in layers:
        wanted[layer.graph].add(layer.activation)
    return calibrate(
        bundle.folder,
        wanted,
        calibration.data,
        seed=calibration.seed,
        state_path=calibration.state,
        progress=lambda done, total: progress("calibrating", done, total),
        limits=calibration.limits,
        low_memory=calibration.low_memory,
    )


def needed_bytes(bundle: Bundle, plan: Plan) -> int:
    """Returns disk space that is always enough. Engines are not copied."""
    files = bundle.manifest.without_engines().files
    saved = sum(
        layer.float_bytes - scheme.weights.bytes_of(layer.inputs, layer.outputs, ROOM_OF_SCALE)
        for layer, scheme in plan.items()
    )
    return sum(entry.bytes for entry in files.values()) - saved + ROOM_OF_LAYER * len(plan)


def _copy_rest(
    bundle: Bundle, rest: Sequence[str], folder: Path, progress: Progress
) -> dict[str, FileEntry]:
    """Copies files that stay as they are, and returns their entries."""
    entries = {name: bundle.manifest.files[name] for name in rest}
    for done, (name, entry) in enumerate(entries.items(), start=1):
        with bundle.watch.steady(name):
            copy_as_named(bundle.folder / name, folder / name, entry)
        progress("copying files", done, len(rest))
    return entries


def _key(bundle: Bundle, form: str, plan: Plan, seen: Mapping[Place, Statistics]) -> str:
    """Returns the hash of all that the graphs depend on.

    The manifest stands for the content of the bundle's files, and stamps for what was edited since.
    """
    facts = {
        "manifest": hash_file(bundle.folder / FILE_NAME).sha256,
        "stamps": {name: stamp[:4] for name, stamp in sorted(bundle.watch.known.items())},
        "form": form,
        "plan": [[layer.graph, layer.name, repr(scheme)] for layer, scheme in plan.items()],
        "seen": _digest(seen),
        "code": _code(),
        "versions": {name: version(name) for name in MADE_WITH},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _digest(seen: Mapping[Place, Statistics]) -> str:
    digest = hashlib.sha256()
    for place in sorted(seen):
        for name, array in sorted(seen[place].to_arrays().items()):
            digest.update(f"{place} {name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Returns the sha256 of the code that rounds and writes, because it changes what is made."""
    digest = hashlib.sha256()
    home = Path(__file__).parents[1]
    for room in ("quantization", "quantization/numerics", "export/graphfile", "engines/lowering"):
        for path in sorted((home / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
