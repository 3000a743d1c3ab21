"""The settings of a server: one table for flags, environment, file and `--print-config`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any

from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.backends.choose import PROVIDERS
from omnijet.runtime.speech.presets import PRESETS

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_LIMITS = Limits()


def _setting(default: Any, text: str, **facts: Any) -> Any:
    """Returns a field of `ServeConfig`.

    Args:
        text: the help.
        facts: `metavar`; `least` and `most` of a number; `choices`; `is_secret` of what is no
            flag, stands in no file and is never printed.
    """
    return field(default=default, metadata={"help": text, **facts}, repr="is_secret" not in facts)


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Settings of `omnijet serve`. Threads: any thread may use it; it never changes.

    The fields are the table: each is a flag `--like-this`, a variable `OMNIJET_LIKE_THIS` and a
    key `like_this` of the file; its metadata are read in `omnijet.runtime.serve.settings`.
    """

    bundle: str = _setting("", "folder of the bundle", metavar="FOLDER")
    host: str = _setting("127.0.0.1", "address to listen at", metavar="ADDRESS")
    port: int = _setting(8000, "port to listen at; 0: a free one", least=0, most=65535)
    provider: str | None = _setting(
        None, "what runs the ONNX graphs; cpu by default", choices=PROVIDERS
    )
    engines: str | None = _setting(
        None, "run what `omnijet build` made for this target", metavar="TARGET"
    )
    threads: int = _setting(0, "threads of a graph on the CPU; 0: the backend chooses", least=0)
    model: str = _setting("", "name of the model in the API; that of the bundle's folder")
    api_key: str | None = _setting(None, "what clients have to send", is_secret=True)
    api_key_file: str = _setting("", "file with the key that clients have to send", metavar="FILE")
    metrics_open: bool = _setting(False, "answer /metrics without the key")
    cors: tuple[str, ...] = _setting(
        (), "web origin whose pages may call the server; repeat it, or *", metavar="ORIGIN"
    )
    hosts: tuple[str, ...] = _setting(
        (), "further name that clients may call the server by; repeat it", metavar="NAME"
    )
    preset: str = _setting("exact", "quality of the speech of who names none", choices=PRESETS)
    turns: int = _setting(_LIMITS.turns, "replies that are made side by side", least=1)
    waiting: int = _setting(_LIMITS.waiting, "turns that wait for a place at most", least=0)
    wait_s: float = _setting(_LIMITS.wait_s, "seconds that a turn waits at most", least=0)
    sessions: int = _setting(_LIMITS.sessions, "conversations that are open at once", least=1)
    pooled: int = _setting(
        _LIMITS.pooled, "conversations of single requests whose caches are kept", least=0
    )
    idle_s: float = _setting(_LIMITS.idle_s, "seconds until idle caches are dropped", least=1)
    turn_s: float = _setting(_LIMITS.turn_s, "seconds that a reply may take", least=1)
    media_s: float = _setting(_LIMITS.media_s, "seconds of the longest sound or clip", least=1)
    pixels: int = _setting(_LIMITS.pixels, "pixels of the largest picture", least=1)
    seen_pixels: int = _setting(
        _LIMITS.seen_pixels, "pixels that the model reads of a picture", least=1
    )
    body_bytes: int = _setting(32 << 20, "bytes of the largest request", least=1024)
    bodies_bytes: int = _setting(
        256 << 20, "bytes of all requests that are held at once", least=1024
    )
    connections: int = _setting(1000, "connections that are open at once", least=1)
    header_s: float = _setting(10.0, "seconds that the head of a request may take", least=0.1)
    body_s: float = _setting(60.0, "seconds that the body of a request may take", least=0.1)
    send_s: float = _setting(
        60.0, "seconds that a client may take nothing of what is sent to it", least=0.1
    )
    drain_s: float = _setting(30.0, "seconds that replies may end in after SIGTERM", least=0)
    replicas: int = _setting(0, "replicas under Ray Serve; 0: this process answers", least=0)
    ray: str = _setting("", "cluster of Ray for replicas; else this machine", metavar="ADDRESS")
    log_content: bool = _setting(False, "log what was asked and answered")

    def limits(self) -> Limits:
        """Returns the limits of the assistant."""
        return Limits(**{one.name: getattr(self, one.name) for one in fields(Limits)})

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host.casefold() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def url(self, port: int | None = None) -> str:
        """Returns the address of the page, as a browser on this machine has it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port if port is None else port}"
