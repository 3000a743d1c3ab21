"""Calibration: measures activations while a bundle answers conversations.

Every conversation runs through the whole pipeline in the bundle's precision: the Talker reads what
the Thinker wrote, and the DiT solves the flow for the Talker's codes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from omnijet.quantization.calibration.conversations import (
    BUILT_IN,
    Conversation,
    Conversations,
    fitting_set,
    open_conversations,
)
from omnijet.quantization.calibration.limits import Limits
from omnijet.quantization.calibration.state import CalibrationState, Place
from omnijet.quantization.calibration.taps import TappedBackend
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.manifest import FILE_NAME, hash_file
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.talk.clock import Clock
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.turn import Turn

SAVED_EVERY = 8  # conversations
GATHERED = 64  # rows
MEASURED_WITH = (
    "numpy",
    "omnijet",
    "onnxruntime",
)  # a release of one of these may change statistics

Progress = Callable[[int, int], None]
"""Receives (conversations done, conversations in total)."""


def calibrate(
    bundle: str | Path,
    wanted: Mapping[str, Collection[str]],
    data: str | Path | None = None,
    *,
    seed: int = 0,
    state_path: Path | None = None,
    progress: Progress = lambda done, total: None,
    limits: Limits | None = None,
    threads: int = 0,
    low_memory: bool = False,
) -> dict[Place, Statistics]:
    """Runs conversations and measures activations. The same arguments give the same statistics.

    Args:
        wanted: names of activations (`Layer.activation`) for each graph.
        data: see `open_conversations`; None: the built-in set that fits the bundle.
        seed: seed of all draws, the Talker's and the statistics'.
        state_path: file that an interrupted run resumes from.
        threads: threads of ONNX Runtime; 0 lets it choose.
        low_memory: see `TappedBackend`.

    Raises:
        OmnijetError: the data or a medium in it cannot be used (all faults at once, before the
            first conversation runs), no data reach a graph, or activations are not finite.
    """
    limits = limits or Limits()
    names = {graph: tuple(sorted(set(wanted[graph]))) for graph in sorted(wanted) if wanted[graph]}
    measuring = Measuring({}, seed)
    backend = TappedBackend(names, measuring.see, limits.rows, threads, low_memory)
    omni = Omni.open(bundle, backend=backend)
    built_in = BUILT_IN[fitting_set(omni.bundle.manifest.dims.thinker.vocab)]
    with open_conversations(built_in if data is None else Path(data)) as found:
        conversations = replace(found, items=found.items[: limits.conversations])
        _check(omni, conversations, names)
        key = _key(omni, conversations, names, seed, limits)
        state = CalibrationState(key)
        if state_path is not None:
            state = CalibrationState.resume(state_path, key)
        measuring.statistics = state.statistics
        total = len(conversations.items)
        progress(state.done, total)
        for number in range(state.done, total):
            _answer(omni, conversations.items[number], number, names, seed, limits)
            measuring.settle()
            state.done = number + 1
            if state_path is not None and (state.done % SAVED_EVERY == 0 or state.done == total):
                state.save(state_path)
            progress(state.done, total)
    missing = [(graph, name) for graph in names for name in names[graph]]
    missing = [place for place in missing if place not in state.statistics]
    if missing:
        raise OmnijetError(
            f"{len(missing)} activations never occurred in calibration",
            where=conversations.source,
            expected="conversations whose answers have more than one token",
            got=", ".join(f"{graph}: {name}" for graph, name in missing[:8]),
            fix="calibrate with other conversations",
        )
    return state.statistics


@dataclass(slots=True)
class Measuring:
    """Collects rows for statistics.

    The few rows of decode steps wait for more, because an update with one row costs as much as
    with many.

    Attributes:
        seed: seed of the samples.
        waiting: [rows, inputs] each, fewer than `GATHERED` rows together.
    """

    statistics: dict[Place, Statistics]
    seed: int
    waiting: dict[Place, list[Array]] = field(default_factory=dict)

    def see(self, graph: str, activation: str, rows: Array) -> None:
        """Takes rows of an activation, f16 or f32[rows, inputs]."""
        waiting = self.waiting.setdefault((graph, activation), [])
        waiting.append(rows)
        if sum(map(len, waiting)) >= GATHERED:
            self._update((graph, activation))

    def settle(self) -> None:
        """Adds all waiting rows to the statistics."""
        for place in list(self.waiting):
            self._update(place)

    def _update(self, place: Place) -> None:
        rows = np.concatenate(self.waiting.pop(place))
        if place not in self.statistics:
            self.statistics[place] = Statistics(rows.shape[1], self.seed, dtype=rows.dtype)
        self.statistics[place].update(rows)


def _answer(
    omni: Omni,
    conversation: Conversation,
    number: int,
    names: Mapping[str, Collection[str]],
    seed: int,
    limits: Limits,
) -> None:
    """Runs the part of the pipeline that the wanted graphs need; voices take turns."""
    voices = sorted(omni.bundle.manifest.voices)
    speech = "talker_step" in names or "dit_step" in names
    options = Options.of(
        voice=voices[number % len(voices)] if voices else None,
        speech=speech,
        seed=seed + number,
        max_text_tokens=limits.text_tokens if speech or "thinker_step" in names else 1,
        max_codes=limits.codes,
        lookup=False,  # guesses that are wrong would count as activations
    )
    turn = Turn.of(omni.model, options, Clock())
    try:
        for _ in turn.events(parse_messages(conversation.messages)):
            pass
        if turn.codes and "dit_step" in names:
            omni.mel_of(turn.codes, voice=turn.voice, seed=seed + number)
    except OmnijetError as error:
        raise error.within(conversation.name) from error


# -- before the first conversation ----------------------------------------------------------


def _check(omni: Omni, conversations: Conversations, names: Mapping[str, Collection[str]]) -> None:
    """Checks that every medium can be read, every prompt fits, and every encoder gets input."""
    faults: list[str] = []
    heard = sighted = False
    for conversation in conversations.items:
        try:
            prompt = omni.model.prompt(parse_messages(conversation.messages))
        except OmnijetError as error:
            facts = [str(fact) for fact in (error.where, error.what, error.got) if fact is not None]
            faults.append(f"{conversation.name}: {': '.join(facts)}")
            continue
        heard = heard or bool(prompt.sounds)
        sighted = sighted or bool(prompt.images or prompt.videos)
        if prompt.input_ids.size + 3 > omni.model.context_limit:
            faults.append(f"{conversation.name}: {prompt.input_ids.size} tokens, too long")
    if faults:
        raise OmnijetError(
            f"{len(faults)} of {len(conversations.items)} conversations cannot be used",
            where=conversations.source,
            got="\n            ".join(faults),
            fix="repair them or leave them out",
        )
    for graph, reached, medium in (
        ("audio_encoder", heard, "sound"),
        ("vision_encoder", sighted, "picture or clip"),
    ):
        if graph in names and not reached:
            raise OmnijetError(
                f"nothing in the calibration data reaches {graph}",
                where=conversations.source,
                expected=f"at least one {medium}",
                fix="calibrate with other conversations, or leave this graph as it is",
            )


def _key(
    omni: Omni,
    conversations: Conversations,
    names: Mapping[str, Collection[str]],
    seed: int,
    limits: Limits,
) -> str:
    """Returns the sha256 of all that statistics depend on except the processor.

    The manifest stands for all files of the bundle, because it holds their hashes, and stamps for
    what was edited since.
    """
    facts = {
        "bundle": hash_file(omni.bundle.folder / FILE_NAME).sha256,
        "stamps": {name: stamp[:4] for name, stamp in sorted(omni.bundle.watch.known.items())},
        "data": conversations.digest,
        "wanted": names,
        "seed": seed,
        "limits": asdict(limits),
        "versions": {name: version(name) for name in MEASURED_WITH},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
