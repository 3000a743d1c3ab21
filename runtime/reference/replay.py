"""Runs a graph on recorded inputs, within the sizes that an engine was built for.

A long prompt may take several calls, as in a conversation; the caches are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from omnijet.runtime.backends.protocol import Graph, State, run_once
from omnijet.runtime.bundle.contract import Array, GraphContract, widened
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model import audio_plan, vision_plan
from omnijet.runtime.model.encoders import MAX_CHUNKS
from omnijet.runtime.reference.shapes import require_shapes
from omnijet.runtime.speech.dit import block_masks

PICKED = 8  # rows of a prompt whose logits are compared
KEPT_ROWS = 8  # rows of a prompt whose keys and values are compared
LATER = np.float32(0.7)
"""How much of the noise is left at the second evaluation of the DiT."""

Outputs = dict[str, Array]


class TooSmall(OmnijetError):
    """An engine does not take what was recorded: nothing is known of it."""


def replay(graph: Graph, dims: ModelDims, inputs: Mapping[str, Array]) -> Outputs:
    """Returns what the graph makes of recorded inputs, f32 by name; `prompt/logits` and the like
    name the call, too. The last rows of logits count where an engine gives fewer.

    Raises:
        OmnijetError: the inputs are not of this graph, its engine was built for less, or it fails.
    """
    require_shapes(graph.contract.name, dims, inputs)
    match graph.contract.name:
        case "audio_encoder":
            return _hear(graph, dims, inputs)
        case "vision_encoder":
            return _see(graph, dims, inputs)
        case "thinker_step" | "talker_step":
            return _decode(graph, inputs)
        case "dit_step":
            return _solve(graph, dims, inputs)
    return _voice(graph, inputs)


def kept_rows(rows: int) -> list[int]:
    """Returns the rows of a prompt whose keys and values are compared: the first ones, which
    everything attends to, and the last.
    """
    first = min(2, rows)
    return [*range(first), *range(max(first, rows - KEPT_ROWS + first), rows)]


def _hear(graph: Graph, dims: ModelDims, inputs: Mapping[str, Array]) -> Outputs:
    mel = inputs["mel"].astype(np.float32)
    plan = audio_plan.plan_audio(dims.audio, [mel.shape[1]])
    made = []
    for feeds in plan.batches([mel], min(graph.limit("chunks") or MAX_CHUNKS, MAX_CHUNKS)):
        sizes = {"chunks": len(feeds["mel"]), "tokens": len(feeds["pool_rows"])}
        made.append(run_once(graph, sizes, feeds)["features"].copy())
    return {"features": np.concatenate(made)}


def _see(graph: Graph, dims: ModelDims, inputs: Mapping[str, Array]) -> Outputs:
    """Sees a picture and the same upside down, in one call where the graph takes two."""
    patches = inputs["patches"].astype(np.float32)
    plan = vision_plan.plan(dims.vision, *map(int, inputs["grid"]))
    known, pair = graph.contract.symbols, (patches, patches[::-1])
    limits = {symbol: graph.limit(symbol) for symbol in known}
    sizes = {symbol: size for symbol, size in plan.sizes(2).items() if symbol in known}
    if "pictures" in known and all(size <= (limits[s] or size) for s, size in sizes.items()):
        made = [run_once(graph, sizes, plan.feeds(*pair))["features"].copy()]
    else:
        sizes = {symbol: size for symbol, size in plan.sizes(1).items() if symbol in known}
        _require_room(graph, sizes)
        feeds = [plan.feeds(one) for one in pair]
        names = {spec.name for spec in graph.contract.inputs}
        given = [{name: one[name] for name in one.keys() & names} for one in feeds]
        made = [run_once(graph, sizes, one)["features"].copy() for one in given]
    features = np.concatenate(made)
    return {"features": features[: plan.cells], "second/features": features[plan.cells :]}


def _decode(graph: Graph, inputs: Mapping[str, Array]) -> Outputs:
    """Feeds all rows but the last as a prompt, and the last as a step."""
    rows = len(inputs["embeds"]) - 1
    _require_room(graph, {"capacity": rows + 1})
    state = graph.new_state(rows + 1)
    found = _named("prompt", _feed(graph, state, inputs, 0, rows))
    found |= _named("step", _feed(graph, state, inputs, rows, rows + 1))
    chosen = kept_rows(rows)
    for name, array in state.rows([*chosen, rows]).items():
        wide = widened(array)
        found[f"prompt/{name}"] = wide[:, :, : len(chosen)]
        found[f"step/{name}"] = wide[:, :, len(chosen) :]
    return found


def _named(call: str, outputs: Mapping[str, Array]) -> Outputs:
    return {f"{call}/{name}": array for name, array in outputs.items()}


def _feed(graph: Graph, state: State, inputs: Mapping[str, Array], begin: int, end: int) -> Outputs:
    """Feeds rows `begin` to `end`; returns the logits of the last ones, and `hidden` of all."""
    symbols = graph.contract.symbols
    most = graph.limit("rows") or end
    logits, hidden = np.empty(0), []
    for first in range(begin, end, most):
        last = min(first + most, end)
        rows = last - first
        picked = min(PICKED, rows, graph.limit("picked") or rows)
        sizes = {"rows": rows, "picked": picked, "capacity": state.capacity}
        bound = graph.bind({symbol: sizes[symbol] for symbol in symbols}, state)
        for name in ("embeds", "cos", "sin"):
            bound.inputs[name][0] = inputs[name][first:last]
        seen = np.arange(first + 1, last + 1)[:, None]
        bound.inputs["mask"][0, 0] = np.arange(state.capacity)[None, :] < seen
        bound.inputs["write_index"][0] = first
        if "picked" in symbols:
            bound.inputs["head_rows"][:] = np.arange(rows - picked, rows)
        bound.run()
        logits = bound.outputs["logits"].copy()
        if "hidden" in bound.outputs:
            hidden.append(bound.outputs["hidden"][0].copy())
    return {"logits": logits, **({"hidden": np.concatenate(hidden)} if hidden else {})}


def _solve(graph: Graph, dims: ModelDims, inputs: Mapping[str, Array]) -> Outputs:
    """Evaluates a stretch from the start, and one that continues it."""
    frames, block = len(inputs["x"]), dims.dit.block
    branches, blocks = len(inputs["static"]), frames // block
    sizes = {"branches": branches, "blocks": blocks}
    _require_room(graph, sizes)
    bound = graph.bind(sizes)
    for name in ("static", "modulation", "modulation_out"):
        bound.inputs[name][...] = inputs[name]
    for name in ("cos", "sin"):
        bound.inputs[name][0] = inputs[name]
    bound.inputs["commit"][0] = blocks - 1
    noise = inputs["x"].astype(np.float32)
    found: Outputs = {}
    for call, left in (("first", np.float32(1)), ("second", LATER)):
        bound.inputs["x"][0] = noise * left
        for name, mask in block_masks(frames, block, call == "second").items():
            bound.inputs[name][...] = mask
        bound.run()
        found |= {f"{call}/{name}": bound.outputs[name].copy() for name in _outputs(graph.contract)}
        bound.inputs["past"][...] = found[f"{call}/past_next"]
    return found


def _outputs(contract: GraphContract) -> list[str]:
    return [spec.name for spec in contract.outputs]


def _voice(graph: Graph, inputs: Mapping[str, Array]) -> Outputs:
    mel = inputs["mel"].astype(np.float32)[None]
    sizes = {"frames": mel.shape[2]}
    _require_room(graph, sizes)
    return {"wave": run_once(graph, sizes, {"mel": mel})["wave"].copy()}


def _require_room(graph: Graph, sizes: Mapping[str, int]) -> None:
    """Raises `TooSmall` if an engine does not take these sizes."""
    for symbol, size in sizes.items():
        most = graph.limit(symbol)
        if most is not None and size > most:
            raise TooSmall(
                f"the engine of {graph.contract.name} was built for less than is recorded",
                expected=f"{size} {symbol}",
                got=f"at most {most}",
                fix=f"build with --limit {symbol}={size}, or more",
            )
