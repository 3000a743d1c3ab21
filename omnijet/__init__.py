"""omnijet: a Qwen2.5-Omni checkpoint as ONNX graphs, and a thin runtime that talks.

    import omnijet

    with omnijet.load("my-bundle") as omni:
        reply = omni.generate([{"role": "user", "content": "Hello!"}])
    print(reply.text, reply.audio.shape, reply.sample_rate_hz)

These names are the public interface. Each is imported when it is first used.
"""

# `python -m omnijet` runs this while the current folder is on the path: it imports only modules
# that every Python has loaded by then
import importlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from omnijet.runtime.backends.protocol import Backend
    from omnijet.runtime.errors import OmnijetError
    from omnijet.runtime.media.wav import pcm16
    from omnijet.runtime.model.sampling import Sampling
    from omnijet.runtime.omni import Omni
    from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
    from omnijet.runtime.prompt.tmrope import tmrope_positions
    from omnijet.runtime.talk.heap import keep_heap_small
    from omnijet.runtime.talk.options import Options
    from omnijet.runtime.talk.reply import PcmChunk, Reply, TextDelta
    from omnijet.runtime.talk.session import Session
    from omnijet.runtime.talk.stream import Stream

__version__ = "0.1.0"
__all__ = [
    "SPEECH_SYSTEM_PROMPT",
    "Omni",
    "OmnijetError",
    "Options",
    "PcmChunk",
    "Reply",
    "Sampling",
    "Session",
    "Stream",
    "TextDelta",
    "__version__",
    "keep_heap_small",
    "load",
    "pcm16",
    "tmrope_positions",
]

_HOMES = {
    "SPEECH_SYSTEM_PROMPT": "omnijet.runtime.prompt.chat",
    "Omni": "omnijet.runtime.omni",
    "OmnijetError": "omnijet.runtime.errors",
    "Options": "omnijet.runtime.talk.options",
    "PcmChunk": "omnijet.runtime.talk.reply",
    "Reply": "omnijet.runtime.talk.reply",
    "Sampling": "omnijet.runtime.model.sampling",
    "Session": "omnijet.runtime.talk.session",
    "Stream": "omnijet.runtime.talk.stream",
    "TextDelta": "omnijet.runtime.talk.reply",
    "keep_heap_small": "omnijet.runtime.talk.heap",
    "pcm16": "omnijet.runtime.media.wav",
    "tmrope_positions": "omnijet.runtime.prompt.tmrope",
}


def load(
    bundle: str | os.PathLike[str],
    *,
    backend: "Backend | None" = None,
    provider: str | None = None,
    engines: str | None = None,
    context_limit: int | None = None,
) -> "Omni":
    """Opens a bundle for inference.

    Threads: any thread may call it. Open after a fork, not before: a child
    cannot use what its parent opened.

    Args:
        bundle: the folder that `omnijet export` wrote.
        backend: an own backend; it replaces the choice by `provider` and `engines`.
        provider: what computes the graphs, as in `omnijet run --provider`; "cpu" by default.
        engines: the target whose engines `omnijet build` put into the bundle.
        context_limit: the most rows of a KV cache; the model's own limit by default.

    Raises:
        OmnijetError: the folder is no bundle or is damaged, or the backend cannot run it.
    """
    from omnijet.runtime.omni import Omni

    return Omni.open(
        bundle, backend=backend, provider=provider, engines=engines, context_limit=context_limit
    )


if not TYPE_CHECKING:  # a type checker would take it to have every name

    def __getattr__(name: str) -> object:
        """Imports a public name at its first use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
