"""Describes a bundle's engines for `omnijet inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from omnijet.runtime.bundle.folder import rebuild_command
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.bundle.records import build
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import read_json

SHOWN = 6  # kinds of layers in the table; the JSON has all


def engine_facts(
    folder: Path, manifest: Manifest, graphs: Iterable[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the engines by target and graph: their manifest entries, with `layer_kinds`.

    `layer_kinds` has kinds and dtypes of the layers of the engine, or of the network that it was
    built from if no GPU could report them. Engine files may be missing; their kinds are unknown
    then.

    Raises:
        OmnijetError: a file beside an engine is damaged.
    """
    return {
        target: {
            graph: asdict(entry) | {"layer_kinds": _layers(folder / entry.file)}
            for graph, entry in engines.items()
            if graph in set(graphs)
        }
        for target, engines in manifest.engines.items()
    }


def _layers(engine: Path) -> dict[str, Any]:
    path = engine.with_suffix(".json")
    try:
        layers: dict[str, Any] = read_json(path)["layers"]
        if not isinstance(layers["of"], str):
            raise ValueError("of: expected a text")
        for key in ("kinds", "numbers"):
            build(dict[str, int], layers[key], key)
    except FileNotFoundError:
        return {"of": "missing", "kinds": {}, "numbers": {}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OmnijetError(
            "the description of an engine cannot be read",
            where=path,
            got=error,
            fix=rebuild_command(engine.parents[2], engine.parent.name),
        ) from error
    return layers


def engine_table(engines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    table = Table(
        "target", "graph", "library", "GPU", "engine", "built in", "peak memory", "profiles",
        "layers", "numbers", title="engines",
    )  # fmt: skip
    for target, graphs in engines.items():
        for graph, facts in graphs.items():
            layers = facts["layer_kinds"]
            of = {
                "graph": f"{facts['layers']} nodes",
                "network": f"{facts['layers']} of the network",
                "missing": "file missing",
            }
            table.add_row(
                target, graph, f"{facts['library']} {facts['version']}",
                f"SM{facts['compute_capability']}" if facts["ort"] is None else "",
                size_text(facts["bytes"]),
                f"{facts['build_seconds']:.1f} s", size_text(facts["peak_bytes"]),
                str(len(facts["profiles"])),
                f"{of.get(layers['of'], 'fused')}: {_counts(layers['kinds'])}".removesuffix(": "),
                _counts(layers["numbers"]),
            )  # fmt: skip
    return table


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown + (["…"] if len(counts) > SHOWN else []))
