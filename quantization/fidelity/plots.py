"""Draws the SVG plots of a fidelity report: layers, weights, scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omnijet.nano.evaluation.paired import ScoreChange
from omnijet.quantization.fidelity.measure import GraphBytes, LayerFidelity
from omnijet.runtime.profiling.svg import (
    across,
    axis,
    bar,
    colour,
    picture,
    short,
    stroke,
    ticks,
    words,
)

WIDE = 1100  # pixels
ROW = 26
# colours belong to stages of the pipeline; a graph has its stage's colour
STAGES = {
    "audio_encoder": "audio_encoder",
    "vision_encoder": "vision_encoder",
    "thinker_step": "thinker_prefill",
    "talker_step": "talker_prefill",
    "dit_step": "dit",
    "vocoder": "vocoder",
}


def layers(found: Sequence[LayerFidelity]) -> str:
    """Draws one column for each layer, as high as its SNR; graphs stand side by side."""
    known = [layer for layer in found if math.isfinite(layer.snr_db)]
    if not known:
        return ""
    top, height, left = 8.0, 150.0, 44.0
    end = max(max(layer.snr_db for layer in known), 1.0)
    scale = height / end
    graphs = [graph for graph in STAGES if any(layer.graph == graph for layer in known)]
    gap = 12.0
    width = (WIDE - left - gap * len(graphs)) / len(known)
    marks = []
    for tick in ticks(end, 5):
        y = top + height - scale * tick
        marks += [across(y, left, WIDE, "grid"), words(left - 6, y + 4, f"{tick:g}", "end", "soft")]
    marks.append(words(0, top + height + 16, "dB", "start", "soft"))
    x = left
    for graph in graphs:
        begin = x
        for layer in sorted((one for one in known if one.graph == graph), key=_place):
            tall = scale * max(layer.snr_db, 0.0)
            title = f"{graph} {layer.layer}: {layer.snr_db:.1f} dB, {layer.scheme}"
            marks.append(
                bar(x, top + height - tall, width * 0.8, tall, colour(STAGES[graph]), title)
            )
            x += width
        name = graph.removesuffix("_step").replace("_", " ")
        marks.append(words((begin + x) / 2, top + height + 16, name, "middle"))
        x += gap
    return picture(WIDE, top + height + 24, marks, "signal to noise of each layer")


def _place(layer: LayerFidelity) -> list[tuple[int, str]]:
    """Returns a key that sorts layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in layer.layer.split(".")]


def weights(found: Sequence[GraphBytes]) -> str:
    """Draws one bar for each graph: quantized weights in front of float weights (faint)."""
    left, right = 120, 230
    end = max(max(graph.float_bytes, graph.bytes) for graph in found) / 1e6
    scale = (WIDE - left - right) / max(end, 1e-9)
    bottom = ROW * len(found)
    marks = axis(end, "MB", left, scale, 0, bottom)
    for place, graph in enumerate(found):
        y = ROW * place + 4
        before, after = graph.float_bytes / 1e6, graph.bytes / 1e6
        said = f"{short(before)} → {short(after)} MB"
        if graph.bytes != graph.float_bytes:
            said += f", {graph.float_bytes / max(graph.bytes, 1):.2f} times smaller"
        fill, title = colour(STAGES.get(graph.graph, "other")), f"{graph.graph}: {said}"
        marks += [
            words(0, y + 14, graph.graph.removesuffix("_step").replace("_", " ")),
            bar(left, y, scale * before, ROW - 8, fill, title, faint=True),
            bar(left, y, scale * after, ROW - 8, fill, title),
            words(left + scale * max(before, after) + 8, y + 14, said),
        ]
    return picture(WIDE, bottom + 22, marks, "bytes of weights")


def scores(changes: Sequence[ScoreChange]) -> str:
    """Draws two intervals for each score: the float bundle's (faint), the quantized one's below."""
    left, right = 300, 190
    scale = (WIDE - left - right) / 100.0
    bottom = ROW * len(changes)
    marks = axis(100.0, "%", left, scale, 0, bottom)
    for place, change in enumerate(changes):
        y = ROW * place + 4
        marks.append(words(0, y + 14, change.before.name))
        for shift, score, faint in ((2, change.before, True), (11, change.after, False)):
            title = (
                f"{'float' if faint else 'quantized'}: {100 * score.value:.1f} % "
                f"({100 * score.low:.1f} to {100 * score.high:.1f})"
            )
            marks += [
                bar(left + scale * 100 * score.low, y + shift,
                    scale * 100 * (score.high - score.low), 5, "var(--memory)", title, faint),
                stroke(left + scale * 100 * score.value, y + shift - 2, y + shift + 7, "floor"),
            ]  # fmt: skip
        marks.append(
            words(
                WIDE - right + 12, y + 14,
                f"{100 * change.difference:+.1f} ({100 * change.low:+.1f} to "
                f"{100 * change.high:+.1f})",
            )
        )  # fmt: skip
    return picture(WIDE, bottom + 22, marks, "scores of both bundles")
