"""A conversation with a server: the Realtime API over a WebSocket."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from omnijet.runtime.chat.transport import Lost, Put, Said
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import BadJson, parsed

MOST_BYTES = 16 << 20  # of one message: minutes of sound
CONNECT_S = 20.0
CLOSE_S = 2.0
_MEANINGS = {
    401: "give the key: --api-key-file FILE, or OMNIJET_API_KEY in the environment",
    403: "give the key: --api-key-file FILE, or OMNIJET_API_KEY in the environment",
    404: "is it a server of the Realtime API? its path is /v1/realtime",
    429: "too many talk to it: try again soon",
    503: "too many talk to it, or it is starting: try again soon",
}


class RemoteTransport:
    """A `Transport` to a server.

    Args:
        address: of the socket, see `websocket_address`.
        key: sent as a bearer token, if given.
    """

    def __init__(self, address: str, key: str | None) -> None:
        self._address = address
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._socket: ClientConnection | None = None
        self._reader: threading.Thread | None = None

    def open(self, put: Put) -> None:
        """See `Transport.open`."""
        self.close()
        try:
            socket = connect(
                self._address,
                additional_headers=self._headers,
                open_timeout=CONNECT_S,
                close_timeout=CLOSE_S,
                max_size=MOST_BYTES,
                compression=None,  # sound does not shrink
            )
        except InvalidStatus as error:
            code = error.response.status_code
            raise self._fault(f"HTTP {code}", fix=_MEANINGS.get(code)) from error
        except (OSError, WebSocketException, ValueError) as error:
            raise self._fault(
                str(error) or type(error).__name__, fix="is it running? omnijet serve BUNDLE"
            ) from error
        self._socket = socket
        self._reader = threading.Thread(
            target=_read, args=(socket, put), name="omnijet-chat-socket", daemon=True
        )
        self._reader.start()

    def send(self, event: Mapping[str, Any]) -> None:
        """See `Transport.send`."""
        if self._socket is None:
            return
        try:
            self._socket.send(json.dumps(event))
        except (ConnectionClosed, OSError) as error:
            raise self._fault(_why(error)) from error

    def close(self) -> None:
        """See `Transport.close`."""
        if self._socket is not None:
            with suppress(OSError, WebSocketException):
                self._socket.close()
            self._socket = None
        if self._reader is not None:
            self._reader.join()
            self._reader = None

    def _fault(self, got: str, fix: str | None = None) -> OmnijetError:
        return OmnijetError("the server cannot be talked to", where=self._address, got=got, fix=fix)


def _read(socket: ClientConnection, put: Put) -> None:
    """Passes events on until the connection ends."""
    try:
        for message in socket:
            try:
                event = parsed(message)
            except BadJson as error:
                put(Lost(f"the server sent {error}"))
                return
            if isinstance(event, dict):
                put(Said(event))
        put(Lost("the server has ended the connection"))
    except (ConnectionClosed, OSError, WebSocketException) as error:
        put(Lost(f"the connection has ended: {_why(error)}"))


def _why(error: Exception) -> str:
    received = getattr(error, "rcvd", None)
    reason = getattr(received, "reason", "")
    return str(reason or error or type(error).__name__)
