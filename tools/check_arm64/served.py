"""Starts `omnijet serve` with the interpreter that runs this file, asks once, prints the answer.

Usage: served.py BUNDLE SOUND. It needs the extra `serve`, and nothing else besides Python.
"""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE_S = 600.0  # an emulated start takes a minute


def main() -> None:
    bundle, sound = sys.argv[1:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "omnijet", "serve", bundle, "--port", str(port)]
    with subprocess.Popen(command, stdout=sys.stderr) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            _wait(server, f"{base}/ready")
            answer = _ask(
                f"{base}/v1/chat/completions", Path(bundle).name, Path(sound).read_bytes()
            )
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(PATIENCE_S)
    message = answer["choices"][0]["message"]
    audio = message["audio"]
    print(json.dumps({
        "text": message["content"] or audio["transcript"], "usage": answer["usage"],
        "pcm": audio["data"], "exit code": code,
    }))  # fmt: skip


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not begin: {url}") from None
            time.sleep(0.5)


def _ask(url: str, model: str, sound: bytes) -> dict[str, Any]:
    part = {"data": base64.b64encode(sound).decode(), "format": "wav"}
    body = {
        "model": model,
        "messages": [
            {"role": "user", "content": [{"type": "input_audio", "input_audio": part}]}
        ],
        "modalities": ["text", "audio"],
        "audio": {"voice": "Chelsie", "format": "pcm16"},
        "seed": 0,
    }  # fmt: skip
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        read: dict[str, Any] = json.load(answer)
        return read


if __name__ == "__main__":
    main()
