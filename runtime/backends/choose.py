"""Which backend runs a bundle: chosen by name, never guessed.

The processor is the default everywhere: a GPU is used when it is asked for, so that an answer
does not depend on what a machine happens to have.
"""

from __future__ import annotations

from typing import get_args

from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.ort_gpu.backend import OrtDeviceBackend, Provider
from omnijet.runtime.backends.protocol import Backend
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.errors import OmnijetError

CPU = "cpu"
PROVIDERS: tuple[str, ...] = (CPU, *get_args(Provider))


def backend_for(
    bundle: Bundle, provider: str | None = None, engines: str | None = None, threads: int = 0
) -> Backend:
    """Args:
        provider: of ONNX Runtime, one of `PROVIDERS`; the processor by default.
        engines: a target whose engines `omnijet build` put into the bundle; they run in
            TensorRT or TensorRT-RTX, whichever built them.
        threads: of ONNX Runtime on the processor.

    Raises:
        OmnijetError: both or an unknown one are named, or what is named cannot run here.
    """
    if engines is not None:
        if provider is not None:
            raise OmnijetError(
                "engines and a provider are two ways to run a bundle",
                expected="one of them",
                got=f"engines {engines!r} and provider {provider!r}",
            )
        from omnijet.runtime.backends.trt.backend import (
            EngineBackend,  # costs nothing where it is not used
        )

        return EngineBackend(bundle, engines)
    if provider in (None, CPU):
        return OrtBackend(threads)
    for known in get_args(Provider):
        if provider == known:
            return OrtDeviceBackend(known, threads)
    raise OmnijetError(
        f"there is no provider {provider!r}", expected="one of " + ", ".join(PROVIDERS)
    )
