"""The table of graphs and the modules that define them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from omnijet.export.modules.audio_encoder import AudioEncoder
from omnijet.export.modules.decoder import TalkerStep, ThinkerStep
from omnijet.export.modules.dit import DitStep
from omnijet.export.modules.vision_encoder import VisionEncoder
from omnijet.export.modules.vocoder import Vocoder
from omnijet.runtime.bundle.contract import Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims

GRAPH_MODULES: dict[str, Callable[[ModelDims, Precision], nn.Module]] = {
    "audio_encoder": lambda dims, precision: AudioEncoder(dims.audio, precision),
    "vision_encoder": lambda dims, precision: VisionEncoder(dims.vision, precision),
    "thinker_step": lambda dims, precision: ThinkerStep(dims.thinker, precision),
    "talker_step": lambda dims, precision: TalkerStep(dims.talker, precision),
    "dit_step": lambda dims, precision: DitStep(dims.dit),
    "vocoder": lambda dims, precision: Vocoder(dims.vocoder),
}


def graph_modules(dims: ModelDims, precision: Precision) -> dict[str, nn.Module]:
    """Builds the modules of all graphs that a bundle has, on the meta device: without values."""
    names = graph_contracts(dims, precision)
    return {name: make(dims, precision) for name, make in GRAPH_MODULES.items() if name in names}
