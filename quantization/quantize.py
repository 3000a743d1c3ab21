"""Quantizes a float bundle: plans, calibrates, then writes one graph after another."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from omnijet.engines.lowering.cpu import lower
from omnijet.engines.targets.target import Target
from omnijet.export.graphfile.staging import require_bundle, staged_folder
from omnijet.quantization.calibration.calibrate import Limits, calibrate
from omnijet.quantization.calibration.state import Place
from omnijet.quantization.graph_writer import GraphWriter
from omnijet.quantization.layers import Layer, layers_of
from omnijet.quantization.numerics.apply import change_of, common_divisor, snr_db
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.recipes import RECIPES, Recipe
from omnijet.quantization.schemes import Scheme, needs_of
from omnijet.runtime.bundle.contract import SPEECH_GRAPHS
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, GraphEntry, Manifest, hash_file
from omnijet.runtime.errors import OmnijetError

Progress = Callable[[str, int, int], None]
"""Receives (what, done, total)."""
Plan = Mapping[Layer, Scheme]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a bundle is calibrated on.

    Attributes:
        data: see `open_conversations`; None: the built-in set.
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
        for layer in layers_of(ir.load(bundle.graph(graph)), graph)
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
    """Returns the scheme of each layer that changes; layers without whole blocks stay floats.

    Raises:
        OmnijetError: the bundle is quantized already, the recipe does not fit its floats or the
            target, or a rule matches no layer.
    """
    require_float(bundle)
    _check_floats(recipe, bundle, target)
    if target is not None:
        _check_target(recipe, target)
    absent = [name for name in SPEECH_GRAPHS if name not in bundle.manifest.graphs]
    plan = recipe.plan(bundle_layers(bundle), absent)
    return {layer: scheme for layer, scheme in plan.items() if scheme.weights.fits(layer.inputs)}


def _check_floats(recipe: Recipe, bundle: Bundle, target: Target | None) -> None:
    """Refuses to quantize bf16 for a CPU: CPUs have no bf16 kernels. Raises `OmnijetError`."""
    for_cpu = target is not None and target.compute_capability is None
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
        able = [one.name for one in RECIPES.values() if one.runs_on(target)]
        raise OmnijetError(
            f"{target.title} cannot run recipe {recipe.name}",
            where=f"target {target.name}"
            + (f", SM{target.compute_capability}" if target.compute_capability else ""),
            expected="products of floats or " + ", ".join(sorted(target.numbers)),
            got=", ".join(lacking),
            fix="use --recipe " + " or ".join(able),
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
    progress: Progress = lambda what, done, total: None,
) -> Manifest:
    """Writes `target` completely or not at all.

    Besides `seen`, it holds the largest layers that share an activation in memory.

    Args:
        plan: the result of `plan_for`.
        seen: the result of `statistics_of`; empty: only weights are rounded, without scaling and
            compensation.
        origin: what the manifest says about calibration and budget.

    Raises:
        OmnijetError: the plan needs statistics and there are none, or the disk is full.
    """
    bundle = Bundle.open(source)
    require_apart(source, target)
    if force:
        require_bundle(target)
    if not seen:
        plan = {layer: uncalibrated(layer, scheme) for layer, scheme in plan.items()}
    with staged_folder(target, replace=force, needed_bytes=needed_bytes(bundle)) as folder:
        graphs, report = {}, {}
        rounding = _Rounding(plan, seen, progress)
        for name, entry in bundle.manifest.graphs.items():
            if not any(layer.graph == name for layer in plan):
                graphs[name] = entry
                continue
            written = folder / "graphs" if recipe.form == "standard" else folder / "unlowered"
            graphs[name], report[name] = rounding.graph(bundle, name, written)
            if recipe.form == "cpu":
                contract, parameters = bundle.manifest.contracts[name], graphs[name].parameters
                graphs[name] = lower(
                    folder / graphs[name].file, contract, folder / "graphs", parameters, _ignore
                )
                shutil.rmtree(written)
        _copy_rest(bundle, folder, progress)
        manifest = replace(
            bundle.manifest.without_engines(),
            graphs=graphs,
            files=_hashes(folder),
            quantization={
                "recipe": recipe.name,
                "form": recipe.form,
                "needs": sorted(needs_of(plan.values())),
                "source": str(source.resolve()),
                "source_manifest_sha256": hash_file(source / FILE_NAME).sha256,
                **(origin or {}),
                "layers": report,
            },
        )
        manifest.write(folder)
    return manifest


def uncalibrated(layer: Layer, scheme: Scheme) -> Scheme:
    """Returns the part of a scheme that needs no calibration.

    Raises:
        OmnijetError: the scheme rounds activations.
    """
    if scheme.activations is not None:
        raise OmnijetError(
            "activations are rounded to ranges that only a calibration knows",
            where=f"{layer.graph}: {layer.name}",
            expected="calibration data, or a recipe that rounds weights alone",
            got=str(scheme),
            fix="pass --data, or --recipe orin-int4",
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


class _Rounding:
    """Rounds one graph after another, with one progress bar for all layers."""

    def __init__(self, plan: Plan, seen: Mapping[Place, Statistics], progress: Progress) -> None:
        self._plan, self._seen, self._progress = plan, seen, progress
        self._done = 0

    def graph(
        self, bundle: Bundle, name: str, graphs: Path
    ) -> tuple[GraphEntry, dict[str, dict[str, Any]]]:
        """Writes one graph into a folder; returns its entry and what became of each layer."""
        writer = GraphWriter(bundle.graph(name), bundle.manifest.contracts[name], graphs)
        groups: defaultdict[tuple[str, Scheme], list[Layer]] = defaultdict(list)
        for layer, scheme in self._plan.items():
            if layer.graph == name:
                groups[layer.activation, scheme].append(layer)
        report = {}
        for (activation, scheme), layers in groups.items():
            stats = self._seen.get((name, activation))
            weights = [writer.read(layer) for layer in layers]
            with _named(f"{name}: {', '.join(layer.name for layer in layers)}"):
                divisor = common_divisor(weights, scheme, stats)
            for layer, weight in zip(layers, weights, strict=True):
                with _named(f"{name}: {layer.name}"):
                    change = change_of(weight, scheme, stats, divisor, layer.half)
                report[layer.name] = {
                    "scheme": str(scheme),
                    "snr_db": None if stats is None else snr_db(weight, change, stats.sample),
                    "bytes": change.weight.stored_bytes(layer.itemsize),
                    "float_bytes": layer.float_bytes,
                }
                writer.change(layer, change)
                self._done += 1
                self._progress("quantizing layers", self._done, len(self._plan))
        return writer.finish(_ignore), report


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Adds the layer to errors of the numerics."""
    try:
        yield
    except OmnijetError as error:
        raise error.within(place) from error


def _ignore(count: int) -> None:
    """Ignores the bytes: the progress bar of the layers is enough."""


def needed_bytes(bundle: Bundle) -> int:
    """Returns disk space that is always enough. Engines are not copied."""
    return sum(entry.bytes for entry in bundle.manifest.without_engines().files.values())


def _copy_rest(bundle: Bundle, folder: Path, progress: Progress) -> None:
    """Copies all files that were not rewritten, except engines: those belong to other graphs."""
    changed = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    rest = [name for name in bundle.manifest.without_engines().files if name not in changed]
    for done, name in enumerate(rest, start=1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / name, folder / name)
        progress("copying files", done, len(rest))


def _hashes(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}
