"""Measures what quantization did to a model by running both bundles on the same conversations.

The float bundle answers. The quantized one is forced to write and speak the same tokens, so that
every step starts from the same past. One bundle is loaded at a time.
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
from omnijet.runtime.model.finite import anything_passes
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model

FORMAT, VERSION = "omnijet-fidelity", 1
STEPS = 256  # steps of Thinker and Talker together: 5 s of speech
SOUNDS = 4  # replies that are synthesized, by far the slowest part

Report = Callable[[str, int, int], None]
"""Receives (what, done, total)."""


@dataclass(frozen=True, slots=True)
class LayerFidelity:
    """One quantized layer; `snr_db` is the SNR of its output on calibration rows."""

    graph: str
    layer: str
    scheme: str
    snr_db: float
    bytes: int
    float_bytes: int


@dataclass(frozen=True, slots=True)
class GraphBytes:
    """Bytes of a graph's weights in both bundles."""

    graph: str
    float_bytes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Signals:
    """Signal-to-noise ratios in dB; the float bundle's result is the signal. None: no signal.

    Attributes:
        hearing, sight: encoder features of the same media.
        mel: log-mel minus its mean, from the same codes, voice and noise in one piece.
        pcm: output of the vocoders for these mels. A low ratio may be inaudible: a shift of phase
            counts as noise.
    """

    hearing: float | None
    sight: float | None
    mel: float | None
    pcm: float | None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The whole measurement, with the names and units of the JSON output.

    Attributes:
        conversations, text_tokens, codes: how much the bundles were compared on.
        layers: the worst first; empty if the bundle does not describe its layers.
        thinker, talker: None if nothing was written or spoken.
        scores: empty unless requested.
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
        """Returns a line for each place with a NaN or an infinity."""
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
        """Returns plain dicts, lists and numbers; a NaN or an infinity becomes null."""
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
class _FloatReply:
    """The float bundle's reply to one conversation."""

    messages: Messages
    voice: str | None
    fed: Fed
    written: Written
    spoken: Spoken | None
    mel: Array  # f32[80, frames], empty if it was not synthesized
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
        steps: steps of Thinker and Talker beyond a reply; default `STEPS`.
        backend: default `exact_backend`.

    Raises:
        OmnijetError: a bundle is damaged, or a conversation cannot be used.
    """
    assert conversations
    layers = _layers(quantized)
    backend = backend or exact_backend()
    omni = Omni(Model(quantized, backend))
    total = STEPS if steps is None else steps
    with anything_passes():  # it is counted, and a verdict
        replies = _float_replies(Omni(Model(reference, backend)), conversations, report)
        thinker, talker, signals = _follow(omni, replies, report)
        fed = feed(omni, replies[0].messages)
        stability = endure(omni, fed, total, lambda done: report("together", done, total))
    manifest, before = quantized.manifest, reference.manifest
    return Fidelity(
        bundle=quantized.folder.resolve().name,
        float_bundle=reference.folder.resolve().name,
        recipe=str(manifest.quantization.get("recipe", "none")),
        precision=manifest.precision,
        float_precision=before.precision,
        conversations=len(replies),
        text_tokens=sum(len(reply.written.tokens) for reply in replies),
        codes=sum(len(reply.spoken.codes) for reply in replies if reply.spoken is not None),
        layers=layers,
        thinker=thinker,
        talker=talker,
        snr_db=signals,
        stability=stability,
        weights=_weights(before, manifest),
        speed_bounds=speed_bounds(before, manifest),
    )


def exact_backend() -> OrtBackend:
    """Returns ONNX Runtime on the CPU without its own rounding of activations.

    That rounding is a loss of the runtime, not of the bundle.
    """
    return OrtBackend(integer_products=False)


def _float_replies(
    omni: Omni, conversations: Sequence[Messages], report: Report
) -> list[_FloatReply]:
    voices = list(omni.bundle.manifest.voices)
    replies = []
    for done, messages in enumerate(conversations):
        report("float bundle", done, len(conversations))
        voice = voices[done % len(voices)] if voices else None
        fed = feed(omni, messages)
        written = write(omni, fed)
        spoken = speak(omni, fed, written, voice)
        sound = _sound(omni, spoken if done < SOUNDS else None, voice)
        replies.append(_FloatReply(messages, voice, fed, written, spoken, *sound))
    report("float bundle", len(conversations), len(conversations))
    return replies


def _follow(
    omni: Omni, replies: Sequence[_FloatReply], report: Report
) -> tuple[Agreement | None, Agreement | None, Signals]:
    thinker, talker = AgreementSum(), AgreementSum()
    hearing, sight, mels, pcm = Noise(), Noise(), Noise(), Noise()
    for done, reply in enumerate(replies):
        report("quantized bundle", done, len(replies))
        fed = feed(omni, reply.messages)
        for noise, wanted, got in (
            (hearing, reply.fed.heard, fed.heard), (sight, reply.fed.seen, fed.seen),
        ):  # fmt: skip
            if wanted is not None and got is not None:
                noise.add(wanted, got)
        written = write(omni, fed, reply.written.tokens)
        thinker.add(reply.written.logits, written.logits, reply.written.tokens)
        if reply.spoken is None:
            continue
        # on the float bundle's rows, so that the Thinker's loss is not counted twice
        spoken = speak(omni, reply.fed, reply.written, reply.voice, reply.spoken.drawn)
        assert spoken is not None
        talker.add(reply.spoken.logits, spoken.logits, reply.spoken.drawn)
        if reply.wave.size:
            mel, wave = _sound(omni, reply.spoken, reply.voice)
            middle = reply.mel.mean()
            mels.add(reply.mel - middle, mel - middle)
            pcm.add(reply.wave, wave)
    report("quantized bundle", len(replies), len(replies))
    signals = Signals(hearing.snr_db, sight.snr_db, mels.snr_db, pcm.snr_db)
    return thinker.agreement(), talker.agreement(), signals


def _sound(omni: Omni, spoken: Spoken | None, voice: str | None) -> tuple[Array, Array]:
    """Returns mel f32[80, frames] and wave f32[samples] of codes; empty without codes."""
    if spoken is None or not spoken.codes:
        return np.empty((0, 0), np.float32), np.empty(0, np.float32)
    mel = omni.mel_of(spoken.codes, voice=voice, seed=SEED)
    return mel, omni.wave_of(mel)


def _weights(reference: Manifest, quantized: Manifest) -> tuple[GraphBytes, ...]:
    return tuple(
        GraphBytes(name, entry.weight_bytes, quantized.graphs[name].weight_bytes)
        for name, entry in reference.graphs.items()
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """The manifest's entry of a layer."""

    scheme: str
    snr_db: float
    bytes: int
    float_bytes: int


def _is_measured(entry: Any) -> bool:
    return not (isinstance(entry, dict) and entry.get("snr_db", 0) is None)


def _layers(quantized: Bundle) -> tuple[LayerFidelity, ...]:
    """Returns the layers, the worst first. Raises `OmnijetError` if their figures are damaged."""
    recorded = quantized.manifest.quantization.get("layers", {})
    if isinstance(recorded, dict):  # a packed checkpoint records only the number of layers
        recorded = {name: found for name, found in recorded.items() if not isinstance(found, int)}
    # layers without calibration have no SNR
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
