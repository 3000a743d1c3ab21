"""The table of backends, and the choice of one by name.

A backend is never guessed. The CPU is the default everywhere: a GPU is used when it is asked
for, so that an answer does not depend on what a machine happens to have.

A new backend needs one row here, and a module with the class that the row names; the duties of the
class are listed in `omnijet.runtime.backends.protocol`. Command-line choices, help and messages are
derived from the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from omnijet.runtime.backends.ort_gpu.providers import PROVIDERS as ORT_PROVIDERS
from omnijet.runtime.backends.protocol import Backend, BackendClass, BackendRequest
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend.

    Attributes:
        name: the word that asks for it as a provider.
        option: how it is asked for, and what it loads. "provider" runs the ONNX graphs of any
            bundle; "engines" runs what `omnijet build` made of them for one target.
        source: "module:class". The module is imported when the backend is asked for.
        title: what it is, for help.
        on_gpu: whether it computes on a GPU.
    """

    name: str
    option: Literal["provider", "engines"]
    source: str
    title: str
    on_gpu: bool

    def backend_class(self) -> BackendClass:
        """Imports the class, whose `precisions` say which graphs the backend can load."""
        module, _, name = self.source.partition(":")
        found: BackendClass = getattr(import_module(module), name)
        return found


_HERE = "omnijet.runtime.backends"
DEFAULT = BackendRow(
    "cpu", "provider", f"{_HERE}.ort_cpu:OrtBackend", "ONNX Runtime on the CPU", False
)
BACKENDS: tuple[BackendRow, ...] = (
    DEFAULT,
    *(
        BackendRow(
            name, "provider", f"{_HERE}.ort_gpu.backend:OrtDeviceBackend",
            f"ONNX Runtime with {provider.title}", True,
        )
        for name, provider in ORT_PROVIDERS.items()
    ),
    BackendRow(
        "engines", "engines", f"{_HERE}.trt.backend:EngineBackend", "TensorRT or TensorRT-RTX", True
    ),
)  # fmt: skip
PROVIDERS: tuple[str, ...] = tuple(row.name for row in BACKENDS if row.option == "provider")
"""Names that `backend_for` takes as a provider."""


def backend_for(
    bundle: Bundle,
    provider: str | None = None,
    engines: str | None = None,
    threads: int = 0,
    built: bool = True,
) -> Backend:
    """Opens the backend that a user asks for.

    Args:
        provider: one of `PROVIDERS`; the CPU by default.
        engines: a target whose engines `omnijet build` put into the bundle; they run in
            TensorRT or TensorRT-RTX, whichever built them.
        threads: threads of a graph on the CPU; 0: the backend chooses.
        built: whether a provider runs the graphs that `omnijet build` made for it in place of the
            bundle's own, where they fit.

    Raises:
        OmnijetError: both or an unknown one are named, or what is named cannot run here.
    """
    if engines is not None and provider is not None:
        raise OmnijetError(
            "engines and a provider are two ways to run a bundle",
            expected="one of them",
            got=f"engines {engines!r} and provider {provider!r}",
        )
    option, name = "engines", engines
    if name is None:
        option, name = "provider", DEFAULT.name if provider is None else provider
    for row in BACKENDS:
        if row.option == option and (option == "engines" or row.name == name):
            return row.backend_class().for_request(BackendRequest(bundle, name, threads, built))
    raise OmnijetError(f"there is no provider {name!r}", expected="one of " + ", ".join(PROVIDERS))
