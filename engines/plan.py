"""Decides before a build which engines are built, why, and what cannot be built.

Graphs for ONNX Runtime count as engines here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omnijet.engines.build_memory import WeightBytes
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.key import differences, ingredients, key_of
from omnijet.engines.lowering.flavours import flavour_for
from omnijet.engines.process import Progress
from omnijet.engines.profiles import Profile, block_of, profiles_for
from omnijet.engines.targets.build_rates import least_bytes, predicted_bytes
from omnijet.engines.targets.ranges import limits_with
from omnijet.engines.targets.target import Target
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import (
    ENGINES,
    FILE_NAME,
    EngineEntry,
    FileEntry,
    Manifest,
    hash_file,
)
from omnijet.runtime.bundle.operators import CPU, STANDARD
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import read_json

Status = Literal["present", "missing", "stale"]


@dataclass(frozen=True, slots=True)
class Planned:
    """The engine of one graph.

    Attributes:
        precision: the numbers of the graph in words, such as `bf16, 252 int4 blocks of 64`.
        made_of: the ingredients that the key is the hash of.
        why: reason for the status, in words.
        weight_bytes: bytes of the lowered graph's weights.
        predicted: peak memory of the build in bytes.
        least: bytes of free memory without which the build does not start.
        file: the engine, or the graph for ONNX Runtime.
        details_file: JSON with the ingredients and the layers of the engine.
        beside: the other file: the log of an engine, or the weights of a graph.
    """

    graph: str
    precision: str
    profiles: tuple[Profile, ...]
    made_of: Mapping[str, Any]
    status: Status
    why: str
    weight_bytes: int
    predicted: int
    least: int
    file: str
    details_file: str
    beside: str

    @property
    def key(self) -> str:
        return key_of(self.made_of)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for.

    Attributes:
        graphs: names of graphs; empty: all.
        limits: largest sizes that replace the target's, by symbol.
        recipe: the recipe that the bundle must have; None: any.
        anew: rebuild engines that are present.
    """

    target: Target
    graphs: tuple[str, ...] = ()
    limits: Mapping[str, int] | None = None
    recipe: str | None = None
    anew: bool = False
    options: BuildOptions = field(default_factory=BuildOptions)


def require_possible(bundle: Bundle, request: Request) -> Mapping[str, int]:
    """Returns the limits of a request; reads no file.

    Raises:
        OmnijetError: the target cannot run this bundle, or a limit or graph is unknown.
    """
    _require_runnable(bundle, request)
    _chosen(bundle, request)
    _require_options(request)
    preprocessing = Preprocessing.from_json(bundle.manifest.preprocessor)
    return limits_with(
        request.target.limits, request.limits or {}, bundle.manifest.dims, preprocessing,
        bundle.manifest.joins_pictures,
    )  # fmt: skip


def make_plan(
    bundle: Bundle,
    request: Request,
    version: str | None,
    progress: Progress = lambda what, done, total: None,
) -> list[Planned]:
    """Returns all engines of a request in the bundle's order; hashes those that exist.

    Args:
        version: the library's; None: it is not installed, and the version of an existing engine
            counts as the right one.

    Raises:
        OmnijetError: see `require_possible`.
    """
    limits, manifest = require_possible(bundle, request), bundle.manifest
    names = [name for name in manifest.graphs if name in _chosen(bundle, request)]
    engines = manifest.engines.get(request.target.name, {})
    hashed = _Hashed(sum(engines[name].bytes for name in names if name in engines), progress)
    return [_planned(bundle, request, name, limits, version, hashed) for name in names]


class _Hashed:
    """Shows one progress bar for all engines that are hashed."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, count: int) -> None:
        self._done = min(self._done + count, self._total)
        self._progress("verifying engines, bytes", self._done, self._total)


def _planned(
    bundle: Bundle, request: Request, graph: str, limits: Mapping[str, int], version: str | None,
    hashed: _Hashed,
) -> Planned:  # fmt: skip
    manifest, target = bundle.manifest, request.target
    contract = manifest.contracts[graph]
    is_graph = target.library == "onnxruntime"
    profiles: tuple[Profile, ...] = ()
    if not is_graph:
        grows = target.flavour == "decomposed"
        block = block_of(manifest.dims)
        profiles = profiles_for(contract, limits, target.library, block, grows)
    entry = manifest.engines.get(target.name, {}).get(graph)
    known = target.toolkit.made_for or version or (entry.version if entry else "not installed")
    made_of = ingredients(manifest, graph, target, known, profiles, request.options)
    place = f"{ENGINES}/{target.name}/{graph}"
    # an engine's graph is in standard operators: `_require_runnable` saw to it
    operators = CPU if is_graph else STANDARD
    wide = flavour_for(target).precision == "f32"
    weights = WeightBytes.of(bundle.graph(graph), target.toolkit.has_int8_blocks, operators, wide)
    status, why = _status(bundle, entry, made_of, f"{place}.json", hashed)
    if status == "present" and request.anew:
        status, why = "stale", "asked for"
    return Planned(
        graph, _precision(manifest, graph), profiles, made_of, status, why, weights.total,
        predicted_bytes(weights, target.library), least_bytes(weights, target.library),
        f"{place}.onnx" if is_graph else f"{place}.engine", f"{place}.json",
        f"{place}.weights" if is_graph else f"{place}.log",
    )  # fmt: skip


def _status(
    bundle: Bundle, entry: EngineEntry | None, made_of: Mapping[str, Any], details_file: str,
    hashed: _Hashed,
) -> tuple[Status, str]:  # fmt: skip
    if entry is None:
        return "missing", "never built"
    for name in (*entry.files, details_file):
        if not _as_written(bundle.folder / name, bundle.manifest.files.get(name), hashed):
            return "stale", f"{Path(name).name} is damaged"
    if entry.key == key_of(made_of):
        return "present", "nothing changed"
    try:
        before = read_json(bundle.folder / details_file)["made of"]
        return "stale", ", ".join(differences(made_of, before)) + " changed"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "stale", f"{Path(details_file).name} is damaged"


def _as_written(path: Path, entry: FileEntry | None, hashed: _Hashed) -> bool:
    try:
        if path.stat().st_size != (entry and entry.bytes):
            return False
        return hash_file(path, hashed.add) == entry
    except OSError:
        return False


def _precision(manifest: Manifest, graph: str) -> str:
    """Returns the numbers of a graph in words, such as `bf16, 252 int4 blocks of 64`."""
    entry = manifest.graphs[graph]
    layers = manifest.quantization.get("layers", {}).get(graph, {})
    if isinstance(layers, int):  # of a packed checkpoint, whose layers are of one kind
        quantization = manifest.quantization
        scheme = f"int{quantization.get('bits')} blocks of {quantization.get('block')}"
        return f"{manifest.precision}, {layers} {scheme}"
    made = Counter(layer["scheme"] for layer in layers.values())
    float_bytes = sum(layer["float_bytes"] - layer["bytes"] for layer in layers.values())
    wide = (entry.weight_bytes + float_bytes) / max(entry.parameters, 1) > 3
    kinds = [f"{count} {scheme}" for scheme, count in made.most_common()]
    half = "f16" if manifest.precision == "f32" else manifest.precision
    return ", ".join(["f32" if wide else half, *kinds])


def _chosen(bundle: Bundle, request: Request) -> Sequence[str]:
    unknown = [name for name in request.graphs if name not in bundle.manifest.graphs]
    if unknown:
        raise OmnijetError(
            f"the bundle has no graph {unknown[0]!r}",
            where="--graphs",
            expected=", ".join(bundle.manifest.graphs),
            fix="name some of these, or leave --graphs out, which builds all",
        )
    return request.graphs or tuple(bundle.manifest.graphs)


def _require_runnable(bundle: Bundle, request: Request) -> None:
    """Checks that the target can run the bundle. Raises `OmnijetError` with a way out."""
    target, manifest = request.target, bundle.manifest
    recipe, where = manifest.quantization.get("recipe"), f"target {target.name}"
    if request.recipe is not None and request.recipe != recipe:
        raise OmnijetError(
            "the bundle has another recipe",
            where=bundle.folder,
            expected=request.recipe,
            got=recipe or "floats",
            fix=f"omnijet quantize FLOAT_BUNDLE OUT --recipe {request.recipe}, then build OUT",
        )
    if manifest.quantization.get("form") == "cpu" and target.device.name != "cpu":
        raise OmnijetError(
            f"{target.title} does not know the operators of this bundle",
            where=bundle.folder,
            expected="standard operators",
            got=f"recipe {recipe}, made for ONNX Runtime's CPU",
            fix=_other_recipe(target),
        )
    if manifest.precision not in target.precisions:
        raise OmnijetError(
            f"{target.title} has no {manifest.precision}",
            where=f"{where}, SM{target.compute_capability}",
            expected="a bundle in " + " or ".join(target.precisions),
            got=manifest.precision,
            fix="export the checkpoint again with --dtype f16",
        )
    lacking = sorted(_needs(bundle) - target.numbers)
    if lacking:
        raise OmnijetError(
            f"{target.title} cannot run recipe {recipe}",
            where=where + (f", SM{target.compute_capability}" if target.compute_capability else ""),
            expected="products of floats or " + ", ".join(sorted(target.numbers)),
            got=", ".join(lacking),
            fix=_other_recipe(target),
        )


def _require_options(request: Request) -> None:
    """Refuses what only engines have. Raises `OmnijetError`."""
    if request.target.library != "onnxruntime":
        return
    given = [f"--limit {symbol}={size}" for symbol, size in (request.limits or {}).items()]
    if request.options.optimization_level is not None:
        given.append(f"--optimization-level {request.options.optimization_level}")
    if given:
        raise OmnijetError(
            "graphs for ONNX Runtime take every size, and have no such option",
            where=f"target {request.target.name}",
            got=", ".join(given),
            fix="leave it out",
        )


def _needs(bundle: Bundle) -> frozenset[str]:
    """Returns the numbers besides floats that products of the graphs need.

    Raises:
        OmnijetError: the bundle is quantized and does not name them.
    """
    quantization = bundle.manifest.quantization
    needs = quantization.get("needs", None if quantization else ())
    if not isinstance(needs, list | tuple) or not all(isinstance(one, str) for one in needs):
        raise OmnijetError(
            "the bundle does not say which numbers its graphs need",
            where=bundle.folder / FILE_NAME,
            expected="a list at quantization.needs",
            got="none" if needs is None else repr(needs)[:60],
            fix="make the bundle again with this version of omnijet",
        )
    return frozenset(needs)


def _other_recipe(target: Target) -> str:
    return (
        "quantize the float bundle with the recipe of this machine: "
        f"`omnijet quantize FLOAT_BUNDLE OUT --target {target.name}`"
    )
