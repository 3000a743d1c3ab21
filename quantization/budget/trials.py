"""Measures what a mix of precisions does to Thinker and Talker without writing a bundle.

Rounded weights replace the float ones in memory.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from omnijet.engines.lowering.widened import widened_contract
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.export.graphfile.loading import load_graph
from omnijet.quantization.fidelity.distances import AgreementSum
from omnijet.quantization.fidelity.following import Fed, Spoken, Written, feed, speak, write
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.apply import change_of, common_divisor
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Half, Scheme
from omnijet.runtime.backends.ort_cpu import boundary
from omnijet.runtime.backends.ort_graph import OrtGraph
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract, verify
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni

THINKER, TALKER = "thinker_step", "talker_step"
DECODERS = (THINKER, TALKER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a mix is from the float bundle on the same inputs.

    Attributes:
        harm: Kullback-Leibler divergence in nats a step, the sum of Thinker and Talker.
        agreement: share of steps with the same most likely token, the smaller of the two.
    """

    harm: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class FloatReply:
    """The float bundle's reply to one conversation."""

    fed: Fed
    written: Written
    spoken: Spoken | None


@dataclass(frozen=True, slots=True)
class Bench:
    """Files for trials, so that any process can run one.

    Attributes:
        bundle: the float bundle.
        folder: holds the float bundle's replies, and statistics of each activation.
    """

    bundle: Path
    folder: Path

    def prepare(
        self, conversations: Sequence[list[dict[str, object]]],
        seen: Mapping[tuple[str, str], Statistics],
    ) -> None:  # fmt: skip
        """Lets the float bundle answer and writes what trials read.

        Raises:
            OmnijetError: a conversation cannot be used, or no reply is spoken.
        """
        omni = Omni.open(self.bundle, backend=WidenedBackend())
        replies = []
        for messages in conversations:
            fed = feed(omni, messages)
            written = write(omni, fed)
            replies.append(FloatReply(fed, written, speak(omni, fed, written, None)))
        has_voice = omni.model.dims.has_voice
        if has_voice and all(reply.spoken is None for reply in replies):
            raise OmnijetError(
                "no answer is spoken in the conversations that mixes are tried on",
                expected="an answer of two tokens or more",
                fix="try more of them with --items, or give others with --data",
            )
        (self.folder / "replies").write_bytes(pickle.dumps(replies))
        for (graph, activation), statistics in seen.items():
            path = self._statistics(graph, activation)
            np.savez(path, allow_pickle=False, **statistics.to_arrays())

    def run(self, plan: Mapping[Layer, Scheme], threads: int = 0) -> Outcome:
        """Returns the outcome of one mix."""
        omni = Omni.open(self.bundle, backend=_Rounded(self._weights(plan), threads))
        return self.outcome_of(omni, {layer.graph for layer in plan})

    def outcome_of(self, omni: Omni, touched: Collection[str]) -> Outcome:
        """Returns the outcome of a model; only `touched` graphs differ from the float bundle's."""
        replies: list[FloatReply] = pickle.loads((self.folder / "replies").read_bytes())
        thinker, talker = AgreementSum(), AgreementSum()
        for reply in replies:
            if THINKER in touched:
                written = write(omni, reply.fed, reply.written.tokens)
                thinker.add(reply.written.logits, written.logits, reply.written.tokens)
            if reply.spoken is not None and TALKER in touched:
                # on the float bundle's rows, so that the Thinker's loss is not counted twice
                spoken = speak(omni, reply.fed, reply.written, None, reply.spoken.drawn)
                assert spoken is not None
                talker.add(reply.spoken.logits, spoken.logits, reply.spoken.drawn)
        found = [one for one in (thinker.agreement(), talker.agreement()) if one is not None]
        if any(one.not_finite for one in found):
            return Outcome(np.inf, 0.0)
        return Outcome(sum(one.kl_mean for one in found), min([1.0, *(one.top1 for one in found)]))

    def _weights(self, plan: Mapping[Layer, Scheme]) -> dict[str, dict[str, Array]]:
        """Returns rounded float weights by graph and by name."""
        groups: defaultdict[tuple[str, str, Scheme], list[Layer]] = defaultdict(list)
        for layer, scheme in plan.items():
            groups[layer.graph, layer.activation, scheme].append(layer)
        made: defaultdict[str, dict[str, Array]] = defaultdict(dict)
        for (graph, activation, scheme), layers in groups.items():
            assert scheme.activations is None, scheme  # trials replace weights only
            half = layers[0].half
            floats = _floats(self.bundle / "graphs" / f"{graph}.onnx", layers)
            seen = None
            if scheme.calibrated:
                with np.load(self._statistics(graph, activation)) as arrays:
                    seen = Statistics.from_arrays(dict(arrays))
            divisor = common_divisor(list(floats.values()), scheme, seen)
            for name, weight in floats.items():
                rounded = change_of(weight, scheme, seen, divisor, half).weight.dequantized()
                effective = rounded if divisor is None else rounded / divisor[:, None]
                made[graph][name] = _as_held(effective, half)
        return made

    def _statistics(self, graph: str, activation: str) -> Path:
        return self.folder / f"{graph}.{activation}.npz"


def _floats(path: Path, layers: Sequence[Layer]) -> dict[str, Array]:
    values = load_graph(path).graph.initializers
    found = {}
    for layer in layers:
        tensor = values[layer.name].const_value
        assert tensor is not None
        found[layer.name] = tensor.numpy().astype(np.float32)
    return found


def _as_held(weight: Array, half: Half) -> Array:
    """Returns f32[...] in the float type of the graph; bf16 as its bits."""
    if half == "bf16":
        return weight.astype(ml_dtypes.bfloat16).view(NUMPY_DTYPES[half])
    return weight.astype(NUMPY_DTYPES[half or "f32"])


class _Rounded(WidenedBackend):
    """Loads graphs with some weights replaced."""

    def __init__(self, weights: Mapping[str, Mapping[str, Array]], threads: int) -> None:
        super().__init__(threads)
        self._weights = weights

    def load(self, path: Path, contract: GraphContract) -> OrtGraph:
        contract = widened_contract(contract)
        session = self.session(path, contract.name, weights=self._weights.get(contract.name))
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)
        return OrtGraph(self.closable(session, contract.name), contract)
