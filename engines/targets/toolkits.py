"""Libraries that run graphs, in the versions that platforms ship, with sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Library = Literal["tensorrt", "tensorrt_rtx", "onnxruntime"]
Flavour = Literal["native", "decomposed", "cpu", "fused-cpu", "fused-cuda", "decomposed-cpu"]
"""The form that a canonical graph is lowered to (`omnijet.engines.lowering.flavours`). No toolkit
has "cpu": `quantize` writes that form for its recipes of the CPU."""
Feature = Literal["attention", "rotary", "kv cache update", "int8 blocks"]
"""`kv cache update`: updates a KV cache of fixed length in place. `int8 blocks`: dequantizes INT8
weights in blocks."""
Version = tuple[int, int]

FEATURES: Mapping[Feature, tuple[Version, str]] = {
    "attention": ((10, 14), "operators"),
    "rotary": ((10, 15), "operators"),
    "kv cache update": ((10, 15), "operators"),
}
"""Feature -> the first TensorRT version whose API and parser have it, and the source. No TensorRT
header up to 11.1 names INT8 among the types that it dequantizes in blocks, so such weights become
floats there (`omnijet.engines.lowering.flavours`). TensorRT-RTX 1.7 builds them."""

ORT_CUDA, ORT_OLDER = "ort-cuda", "ort-jp62"
NATIVE_NEEDS: frozenset[Feature] = frozenset({"attention", "rotary", "kv cache update"})


@dataclass(frozen=True, slots=True)
class Toolkit:
    """A library in the versions of one platform.

    Attributes:
        oldest, newest: major and minor version of the library.
        cuda, python: versions that the platform ships; None: whatever is installed.
        source: key in `omnijet.engines.targets.sources.SOURCES`.
    """

    name: str
    title: str
    library: Library
    oldest: Version
    newest: Version
    cuda: str | None
    python: str | None
    source: str

    @property
    def features(self) -> frozenset[Feature]:
        """Features that every version of the toolkit has."""
        if self.library == "tensorrt_rtx":
            return NATIVE_NEEDS | {"int8 blocks"}
        if self.library == "tensorrt":
            return frozenset(
                feature for feature, (since, _) in FEATURES.items() if self.oldest >= since
            )
        return frozenset()

    @property
    def has_int8_blocks(self) -> bool:
        """Whether INT8 weights in blocks stay INT8; else they become the floats of the graph."""
        return self.library == "onnxruntime" or "int8 blocks" in self.features

    @property
    def made_for(self) -> str | None:
        """The oldest version, where every version of the library builds the same on every machine:
        a PC may build for a device with an older one. None: a build belongs to its version.
        """
        portable = self.flavour == "decomposed-cpu"
        return ".".join(map(str, self.oldest)) if portable else None

    @property
    def flavour(self) -> Flavour:
        """The form of graphs that the library takes, or runs fastest."""
        if self.library == "onnxruntime":
            forms: dict[str, Flavour] = {ORT_CUDA: "fused-cuda", ORT_OLDER: "decomposed-cpu"}
            return forms.get(self.name, "fused-cpu")
        return "native" if self.features >= NATIVE_NEEDS else "decomposed"


TOOLKITS: Mapping[str, Toolkit] = {
    toolkit.name: toolkit
    for toolkit in (
        Toolkit("ort", "ONNX Runtime", "onnxruntime", (1, 25), (1, 32), None, None, "ort"),
        Toolkit(ORT_CUDA, "ONNX Runtime, CUDA", "onnxruntime", (1, 25), (1, 32), None, None, "ort"),
        Toolkit(
            ORT_OLDER,
            "ONNX Runtime of Python 3.10, as on JetPack 6",
            "onnxruntime",
            (1, 23),
            (1, 32),
            None,
            None,
            "ort-older",
        ),
        Toolkit("jp62", "JetPack 6.2", "tensorrt", (10, 3), (10, 3), "12.6", "3.10", "jetpack"),
        Toolkit(
            "jp70", "JetPack 7.0, 7.1", "tensorrt", (10, 13), (10, 13), "13.0", "3.12", "jetpack"
        ),
        Toolkit("jp72", "JetPack 7.2", "tensorrt", (10, 16), (11, 4), "13.2", "3.12", "jetpack"),
        Toolkit("trt", "TensorRT", "tensorrt", (10, 15), (11, 5), None, None, "operators"),
        Toolkit("rtx", "TensorRT-RTX", "tensorrt_rtx", (1, 7), (1, 7), None, None, "tried"),
    )
}
