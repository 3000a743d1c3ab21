"""Libraries that run graphs, by the versions that a platform ships: facts with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Library = Literal["tensorrt", "tensorrt_rtx", "onnxruntime"]
Flavour = Literal["native", "decomposed", "cpu"]
"""What a canonical graph is lowered to (`engines.lowering.flavours`)."""

NATIVE_SINCE = (10, 15)
"""TensorRT whose parser knows Attention, RotaryEmbedding, RMSNormalization and TensorScatter."""


@dataclass(frozen=True, slots=True)
class Toolkit:
    """One library in the versions of one platform.

    Attributes:
        oldest, newest: major and minor version of the library that it comes in.
        cuda, python: what it comes with; None: whatever is installed.
    """

    name: str
    title: str
    library: Library
    oldest: tuple[int, int]
    newest: tuple[int, int]
    cuda: str | None
    python: str | None
    source: str

    @property
    def flavour(self) -> Flavour:
        """What graphs its parser takes: the oldest version decides."""
        if self.library == "onnxruntime":
            return "cpu"
        native = self.library == "tensorrt_rtx" or self.oldest >= NATIVE_SINCE
        return "native" if native else "decomposed"


TOOLKITS: Mapping[str, Toolkit] = {
    toolkit.name: toolkit
    for toolkit in (
        Toolkit("ort", "ONNX Runtime", "onnxruntime", (1, 23), (1, 32), None, None, "ort"),
        Toolkit("jp62", "JetPack 6.1, 6.2", "tensorrt", (10, 3), (10, 3), "12.6", "3.10", "jp62"),
        Toolkit("jp70", "JetPack 7.0, 7.1", "tensorrt", (10, 13), (10, 13), "13.0", "3.12", "jp70"),
        Toolkit("jp72", "JetPack 7.2", "tensorrt", (10, 16), (11, 4), "13.2", "3.12", "jp72"),
        Toolkit("trt", "TensorRT", "tensorrt", NATIVE_SINCE, (11, 5), None, None, "trt"),
        Toolkit("rtx", "TensorRT-RTX", "tensorrt_rtx", (1, 7), (1, 7), None, None, "rtx"),
    )
}
