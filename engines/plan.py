"""What will be built for a target, why, and what cannot be: all of it before anything is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omnijet.engines.build_memory import WeightBytes, least_bytes, predicted_bytes
from omnijet.engines.build_options import BuildOptions
from omnijet.engines.key import differences, ingredients, key_of
from omnijet.engines.lowering.flavours import has_int8_blocks
from omnijet.engines.process import Progress
from omnijet.engines.profiles import Profile, profiles_for
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
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files import shell_quoted

State = Literal["present", "missing", "stale"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One graph's engine.

    Attributes:
        precision: of the graph's numbers, in words.
        made_of: what the key is the hash of.
        why: it is built, or is not.
        weight_bytes: of the lowered graph.
        predicted: bytes of memory at the peak; `least`: without which it is not begun.
    """

    graph: str
    precision: str
    profiles: tuple[Profile, ...]
    made_of: Mapping[str, Any]
    state: State
    why: str
    weight_bytes: int
    predicted: int
    least: int
    file: str
    facts_file: str
    log_file: str

    @property
    def key(self) -> str:
        return key_of(self.made_of)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        graphs: names; empty: all.
        limits: in place of the target's, by symbol.
        recipe: that the bundle must be of; None: whichever it is.
        anew: build what is present too.
    """

    target: Target
    graphs: tuple[str, ...] = ()
    limits: Mapping[str, int] | None = None
    recipe: str | None = None
    anew: bool = False
    options: BuildOptions = field(default_factory=BuildOptions)


def require_possible(bundle: Bundle, request: Request) -> Mapping[str, int]:
    """The limits of what is asked for; no file is read for this.

    Raises:
        OmnijetError: the target cannot run this bundle, or a limit or graph has no meaning.
    """
    _require_runnable(bundle, request)
    _chosen(bundle, request)
    preprocessing = Preprocessing.from_json(bundle.manifest.preprocessor)
    return limits_with(
        request.target.limits, request.limits or {}, bundle.manifest.dims, preprocessing
    )


def make_plan(
    bundle: Bundle,
    request: Request,
    version: str | None,
    progress: Progress = lambda what, done, total: None,
) -> list[Planned]:
    """All engines of the request, in the bundle's order. Hashes those that are there.

    Args:
        version: of the library; None: it is not here, and engines count as made by theirs.

    Raises:
        OmnijetError: as `require_possible`.
    """
    limits, manifest = require_possible(bundle, request), bundle.manifest
    names = [name for name in manifest.graphs if name in _chosen(bundle, request)]
    engines = manifest.engines.get(request.target.name, {})
    hashed = _Hashed(sum(engines[name].bytes for name in names if name in engines), progress)
    return [_planned(bundle, request, name, limits, version, hashed) for name in names]


class _Hashed:
    """One bar for the engines that are there."""

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
    contract, block = manifest.contracts[graph], manifest.dims.dit.block
    profiles = profiles_for(contract, limits, target.library, block)
    entry = manifest.engines.get(target.name, {}).get(graph)
    known = version or (entry.version if entry else "not installed")
    made_of = ingredients(manifest, graph, target, known, profiles, request.options)
    place = f"{ENGINES}/{target.name}/{graph}"
    weights = WeightBytes.of(bundle.graph(graph), has_int8_blocks(target))
    state, why = _state(bundle, entry, made_of, f"{place}.json", hashed)
    if state == "present" and request.anew:
        state, why = "stale", "asked for"
    return Planned(
        graph, _precision(manifest, graph), profiles, made_of, state, why, weights.total,
        predicted_bytes(weights, target.library), least_bytes(weights, target.library),
        f"{place}.engine", f"{place}.json", f"{place}.log",
    )  # fmt: skip


def _state(
    bundle: Bundle, entry: EngineEntry | None, made_of: Mapping[str, Any], facts_file: str,
    hashed: _Hashed,
) -> tuple[State, str]:  # fmt: skip
    if entry is None:
        return "missing", "never built"
    for name in (entry.file, facts_file):
        if not _as_written(bundle.folder / name, bundle.manifest.files.get(name), hashed):
            return "stale", f"{Path(name).name} is damaged"
    if entry.key == key_of(made_of):
        return "present", "nothing changed"
    before = json.loads((bundle.folder / facts_file).read_text(encoding="utf-8"))["made of"]
    return "stale", ", ".join(differences(made_of, before)) + " changed"


def _as_written(path: Path, entry: FileEntry | None, hashed: _Hashed) -> bool:
    try:
        if path.stat().st_size != (entry and entry.bytes):
            return False
        return hash_file(path, hashed.add) == entry
    except OSError:
        return False


def _precision(manifest: Manifest, graph: str) -> str:
    """`bf16, 252 int4 blocks of 64`."""
    entry = manifest.graphs[graph]
    layers = manifest.quantization.get("layers", {}).get(graph, {})
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
        )
    return request.graphs or tuple(bundle.manifest.graphs)


def _require_runnable(bundle: Bundle, request: Request) -> None:
    """Raises `OmnijetError` with what to do instead."""
    target, manifest = request.target, bundle.manifest
    recipe, where = manifest.quantization.get("recipe"), f"target {target.name}"
    if target.library == "onnxruntime":
        raise OmnijetError(
            "ONNX Runtime runs graphs as they are: there is nothing to build",
            where=where,
            fix=f"omnijet run {shell_quoted(bundle.folder)}",
        )
    if request.recipe is not None and request.recipe != recipe:
        raise OmnijetError(
            "the bundle is of another recipe",
            where=bundle.folder,
            expected=request.recipe,
            got=recipe or "floats",
            fix=f"omnijet quantize FLOAT_BUNDLE OUT --recipe {request.recipe}, then build OUT",
        )
    if manifest.quantization.get("form") == "cpu":
        raise OmnijetError(
            f"{target.title} does not know the operators of this bundle",
            where=bundle.folder,
            expected="standard operators",
            got=f"recipe {recipe}, made for ONNX Runtime's CPU",
            fix=_other_recipe(target),
        )
    lacking = sorted(_needs(bundle) - target.numbers)
    if lacking:
        raise OmnijetError(
            f"{target.title} cannot run recipe {recipe}",
            where=f"{where}, SM{target.compute_capability}",
            expected="products of floats or " + ", ".join(sorted(target.numbers)),
            got=", ".join(lacking),
            fix=_other_recipe(target),
        )


def _needs(bundle: Bundle) -> frozenset[str]:
    """Returns what the products of the graphs are made of, besides floats.

    Raises:
        OmnijetError: the bundle is quantized and does not say it.
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
        "quantize the float bundle with another recipe: `omnijet quantize FLOAT_BUNDLE --list` "
        f"shows which run on {target.device.name}"
    )
