"""What quantization did to a model: both bundles at the same work, side by side.

The float bundle answers; the quantized one is fed the same conversations and made to write
and say the same, so that every step starts from the same past. One bundle is open at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from omnijet.nano.evaluation.paired import ScoreChange
from omnijet.quantization.fidelity.distances import Agreement, AgreementSum, Noise
from omnijet.quantization.fidelity.following import (
    SEED,
    Fed,
    Messages,
    Spoken,
    Written,
    feed,
    speak,
    write,
)
from omnijet.quantization.fidelity.speed import SpeedBound, speed_bounds
from omnijet.quantization.fidelity.stability import Stability, endure
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import Backend
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest
from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model

FORMAT, VERSION = "omnijet-fidelity", 1
STEPS = 256  # of Thinker and Talker together: 5 s of speech
SOUNDS = 4  # replies that are made to sound: by far the longest work

Report = Callable[[str, int, int], None]
"""Told (what, done, in all)."""


@dataclass(frozen=True, slots=True)
class LayerFidelity:
    """A quantized layer by itself; `snr_db` of its output on calibration rows."""

    graph: str
    layer: str
    scheme: str
    snr_db: float
    bytes: int
    float_bytes: int


@dataclass(frozen=True, slots=True)
class GraphBytes:
    """Weights of a graph in both bundles."""

    graph: str
    float_bytes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Signals:
    """Signal to noise in dB, the float bundle's result being the signal; None: there was none.

    Attributes:
        hearing, sight: encoder features of the same media.
        mel: log-mel around its mean, of the same codes, voice and noise in one piece.
        pcm: what the vocoders make of those mels. The ear forgives a low one: a shift in
            phase that nobody hears is noise to it.
    """

    hearing: float | None
    sight: float | None
    mel: float | None
    pcm: float | None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """All that was measured; names and units of the JSON output.

    Attributes:
        conversations, text_tokens, codes: how much the bundles were compared on.
        layers: worst first; empty if the bundle says nothing of its layers.
        thinker, talker: None if nothing was written, or said.
        scores: empty unless asked for.
    """

    bundle: str
    float_bundle: str
    recipe: str
    precision: str
    float_precision: str
    conversations: int
    text_tokens: int
    codes: int
    layers: tuple[LayerFidelity, ...]
    thinker: Agreement | None
    talker: Agreement | None
    snr_db: Signals
    stability: Stability
    weights: tuple[GraphBytes, ...]
    speed_bounds: tuple[SpeedBound, ...]
    scores: tuple[ScoreChange, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(graph.bytes for graph in self.weights)

    @property
    def float_bytes(self) -> int:
        return sum(graph.float_bytes for graph in self.weights)

    @property
    def not_finite(self) -> list[str]:
        """Where a NaN or an infinity was met, one line each."""
        found = [
            f"{name}: logits at {agreement.not_finite} of {agreement.steps} steps"
            for name, agreement in (("thinker", self.thinker), ("talker", self.talker))
            if agreement is not None and agreement.not_finite
        ]
        found += [
            name
            for name, value in asdict(self.snr_db).items()
            if value is not None and not math.isfinite(value)
        ]
        if self.stability.broke is not None:
            found.append(
                f"{self.stability.broke}: logits after {self.stability.steps} steps together"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers; a number that is none is null."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        plain: dict[str, Any] = _plain({**data, "not_finite": self.not_finite})
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True, eq=False)
class _Lead:
    """What the float bundle made of one conversation."""

    messages: Messages
    voice: str
    fed: Fed
    written: Written
    spoken: Spoken | None
    mel: Array  # f32[80, frames], empty if it was not made to sound
    wave: Array  # f32[samples]


def measure(
    reference: Bundle,
    quantized: Bundle,
    conversations: Sequence[Messages],
    *,
    steps: int | None = None,
    backend: Backend | None = None,
    report: Report = lambda what, done, total: None,
) -> Fidelity:
    """Compares two bundles of the same dimensions.

    Args:
        conversations: at least one; the voices take turns to answer them.
        steps: that Thinker and Talker go on together; by default `STEPS`.
        backend: `exact_backend` by default.

    Raises:
        OmnijetError: a bundle is damaged, or a conversation cannot be used.
    """
    assert conversations
    layers = _layers(quantized)
    backend = backend or exact_backend()
    omni = Omni(Model(quantized, backend))
    leads = _lead(Omni(Model(reference, backend)), conversations, report)
    thinker, talker, signals = _follow(omni, leads, report)
    total = STEPS if steps is None else steps
    stability = endure(
        omni, feed(omni, leads[0].messages), total, lambda done: report("together", done, total)
    )
    manifest, before = quantized.manifest, reference.manifest
    return Fidelity(
        bundle=quantized.folder.resolve().name,
        float_bundle=reference.folder.resolve().name,
        recipe=str(manifest.quantization.get("recipe", "none")),
        precision=manifest.precision,
        float_precision=before.precision,
        conversations=len(leads),
        text_tokens=sum(len(lead.written.tokens) for lead in leads),
        codes=sum(len(lead.spoken.codes) for lead in leads if lead.spoken is not None),
        layers=layers,
        thinker=thinker,
        talker=talker,
        snr_db=signals,
        stability=stability,
        weights=_weights(before, manifest),
        speed_bounds=speed_bounds(before, manifest),
    )


def exact_backend() -> OrtBackend:
    """ONNX Runtime on the CPU, which here does what the graphs say and no more: it would round
    activations, too, and that is its own loss, not the bundle's."""
    return OrtBackend(integer_products=False)


def _lead(omni: Omni, conversations: Sequence[Messages], report: Report) -> list[_Lead]:
    voices = list(omni.bundle.manifest.voices)
    leads = []
    for done, messages in enumerate(conversations):
        report("float bundle", done, len(conversations))
        voice = voices[done % len(voices)]
        fed = feed(omni, messages)
        written = write(omni, fed)
        spoken = speak(omni, fed, written, voice)
        sound = _sound(omni, spoken if done < SOUNDS else None, voice)
        leads.append(_Lead(messages, voice, fed, written, spoken, *sound))
    report("float bundle", len(conversations), len(conversations))
    return leads


def _follow(
    omni: Omni, leads: Sequence[_Lead], report: Report
) -> tuple[Agreement | None, Agreement | None, Signals]:
    thinker, talker = AgreementSum(), AgreementSum()
    hearing, sight, mels, pcm = Noise(), Noise(), Noise(), Noise()
    for done, lead in enumerate(leads):
        report("quantized bundle", done, len(leads))
        fed = feed(omni, lead.messages)
        for noise, wanted, got in (
            (hearing, lead.fed.heard, fed.heard), (sight, lead.fed.seen, fed.seen),
        ):  # fmt: skip
            if wanted is not None and got is not None:
                noise.add(wanted, got)
        written = write(omni, fed, lead.written.tokens)
        thinker.add(lead.written.logits, written.logits, lead.written.tokens)
        if lead.spoken is None:
            continue
        # on the float bundle's own rows: what the Thinker lost is not counted again
        spoken = speak(omni, lead.fed, lead.written, lead.voice, lead.spoken.drawn)
        assert spoken is not None
        talker.add(lead.spoken.logits, spoken.logits, lead.spoken.drawn)
        if lead.wave.size:
            mel, wave = _sound(omni, lead.spoken, lead.voice)
            middle = lead.mel.mean()
            mels.add(lead.mel - middle, mel - middle)
            pcm.add(lead.wave, wave)
    report("quantized bundle", len(leads), len(leads))
    signals = Signals(hearing.snr_db, sight.snr_db, mels.snr_db, pcm.snr_db)
    return thinker.agreement(), talker.agreement(), signals


def _sound(omni: Omni, spoken: Spoken | None, voice: str) -> tuple[Array, Array]:
    """Mel f32[80, frames] and wave f32[samples] of codes, empty without any."""
    if spoken is None or not spoken.codes:
        return np.empty((omni.model.dims.dit.mel, 0), np.float32), np.empty(0, np.float32)
    mel = omni.mel_of(spoken.codes, voice=voice, seed=SEED)
    return mel, omni.wave_of(mel)


def _weights(reference: Manifest, quantized: Manifest) -> tuple[GraphBytes, ...]:
    return tuple(
        GraphBytes(name, entry.weight_bytes, quantized.graphs[name].weight_bytes)
        for name, entry in reference.graphs.items()
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A layer as the manifest tells it."""

    scheme: str
    snr_db: float
    bytes: int
    float_bytes: int


def _is_measured(entry: Any) -> bool:
    return not (isinstance(entry, dict) and entry.get("snr_db", 0) is None)


def _layers(quantized: Bundle) -> tuple[LayerFidelity, ...]:
    """Worst first. Raises `OmnijetError` if the manifest's figures are damaged."""
    recorded = quantized.manifest.quantization.get("layers", {})
    if isinstance(recorded, dict):  # of a packed checkpoint's layers there is but their number
        recorded = {name: found for name, found in recorded.items() if not isinstance(found, int)}
    # without calibration nobody measured them
    recorded = {
        graph: {name: entry for name, entry in layers.items() if _is_measured(entry)}
        if isinstance(layers, dict) else layers
        for graph, layers in recorded.items()
    } if isinstance(recorded, dict) else recorded  # fmt: skip
    try:
        entries: dict[str, dict[str, _Entry]] = build(dict[str, dict[str, _Entry]], recorded)
    except ValueError as error:
        raise OmnijetError(
            "the manifest's figures of the quantized layers are damaged",
            where=quantized.folder / FILE_NAME,
            got=f"omnijet.quantization.layers: {error}",
            fix="quantize the bundle again",
        ) from error
    layers = [
        LayerFidelity(graph, name, entry.scheme, entry.snr_db, entry.bytes, entry.float_bytes)
        for graph, found in entries.items()
        for name, entry in found.items()
    ]
    return tuple(sorted(layers, key=lambda layer: (not math.isnan(layer.snr_db), layer.snr_db)))
