"""What one mix of precisions does to the decoders, tried without writing a bundle: weights are
rounded in memory and put in place of the float ones."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir

from omnijet.engines.lowering.widened import widened_contract
from omnijet.engines.widened_backend import WidenedBackend
from omnijet.quantization.fidelity.distances import AgreementSum
from omnijet.quantization.fidelity.following import Fed, Spoken, Written, feed, speak, write
from omnijet.quantization.layers import Layer
from omnijet.quantization.numerics.apply import change_of, common_divisor
from omnijet.quantization.numerics.statistics import Statistics
from omnijet.quantization.schemes import Half, Scheme
from omnijet.runtime.backends.ort_cpu import OrtGraph, boundary
from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array, GraphContract, verify
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni

THINKER, TALKER = "thinker_step", "talker_step"
DECODERS = (THINKER, TALKER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Beside the float bundle, fed the same.

    Attributes:
        harm: Kullback-Leibler divergence in nats a step, Thinker and Talker added.
        agreement: share of steps with the same most likely token, of the worse of the two.
    """

    harm: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """What the float bundle made of one conversation."""

    fed: Fed
    written: Written
    spoken: Spoken | None


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a trial needs, on disk, so that any process can run it.

    Attributes:
        bundle: the float one.
        folder: leads, and statistics of each activation.
    """

    bundle: Path
    folder: Path

    def prepare(
        self, conversations: Sequence[list[dict[str, object]]],
        seen: Mapping[tuple[str, str], Statistics],
    ) -> None:  # fmt: skip
        """Lets the float bundle answer and writes what trials read.

        Raises:
            OmnijetError: a conversation cannot be used, or nothing is said in any.
        """
        omni = Omni.open(self.bundle, backend=WidenedBackend())
        leads = []
        for messages in conversations:
            fed = feed(omni, messages)
            written = write(omni, fed)
            leads.append(Lead(fed, written, speak(omni, fed, written, None)))
        if all(lead.spoken is None for lead in leads):
            raise OmnijetError(
                "nothing is said in the conversations on which mixes are tried",
                expected="an answer of two tokens or more",
                fix="try more of them with --items, or give others with --data",
            )
        (self.folder / "leads").write_bytes(pickle.dumps(leads))
        for (graph, activation), statistics in seen.items():
            path = self._statistics(graph, activation)
            np.savez(path, allow_pickle=False, **statistics.to_arrays())

    def run(self, plan: Mapping[Layer, Scheme], threads: int = 0) -> Outcome:
        """The outcome of one mix."""
        omni = Omni.open(self.bundle, backend=_Rounded(self._weights(plan), threads))
        return self.outcome_of(omni, {layer.graph for layer in plan})

    def outcome_of(self, omni: Omni, touched: Collection[str]) -> Outcome:
        """Of a model of which these graphs may differ from the float bundle's."""
        leads: list[Lead] = pickle.loads((self.folder / "leads").read_bytes())
        thinker, talker = AgreementSum(), AgreementSum()
        for lead in leads:
            if THINKER in touched:
                written = write(omni, lead.fed, lead.written.tokens)
                thinker.add(lead.written.logits, written.logits, lead.written.tokens)
            if lead.spoken is not None and TALKER in touched:
                # on the float bundle's own rows: what the Thinker lost is not counted again
                spoken = speak(omni, lead.fed, lead.written, None, lead.spoken.drawn)
                assert spoken is not None
                talker.add(lead.spoken.logits, spoken.logits, lead.spoken.drawn)
        found = [one for one in (thinker.agreement(), talker.agreement()) if one is not None]
        if any(one.not_finite for one in found):
            return Outcome(np.inf, 0.0)
        return Outcome(sum(one.kl_mean for one in found), min([1.0, *(one.top1 for one in found)]))

    def _weights(self, plan: Mapping[Layer, Scheme]) -> dict[str, dict[str, Array]]:
        """Per graph, float weights by name as they are after rounding."""
        groups: defaultdict[tuple[str, str, Scheme], list[Layer]] = defaultdict(list)
        for layer, scheme in plan.items():
            groups[layer.graph, layer.activation, scheme].append(layer)
        made: defaultdict[str, dict[str, Array]] = defaultdict(dict)
        for (graph, activation, scheme), layers in groups.items():
            assert scheme.activations is None, scheme  # only weights are put in place
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
    values = ir.load(path).graph.initializers
    found = {}
    for layer in layers:
        tensor = values[layer.name].const_value
        assert tensor is not None
        found[layer.name] = tensor.numpy().astype(np.float32)
    return found


def _as_held(weight: Array, half: Half) -> Array:
    """f32[...] in the graph's floats; bf16 as its bits."""
    if half == "bf16":
        return weight.astype(ml_dtypes.bfloat16).view(NUMPY_DTYPES[half])
    return weight.astype(NUMPY_DTYPES[half or "f32"])


class _Rounded(WidenedBackend):
    """Graphs with some weights replaced."""

    def __init__(self, weights: Mapping[str, Mapping[str, Array]], threads: int) -> None:
        super().__init__(threads)
        self._weights = weights

    def load(self, path: Path, contract: GraphContract) -> OrtGraph:
        contract = widened_contract(contract)
        session = self.session(path, contract.name, weights=self._weights.get(contract.name))
        found = boundary(session)
        verify(contract, found.inputs, found.outputs, path)
        return OrtGraph(self.closable(session, contract.name), contract)
