"""llama.cpp as a peer: a process of its own that answers questions one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.errors import OmnijetError
from tools.bench.peers import python_of

HERE = Path(__file__).parent
FACTS = ("hidden", "layers", "ffn", "heads", "kv_heads", "head_dim", "vocab")


class Llama:
    """A running peer. Times are in milliseconds."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.version: str = self._answer()["ready"]

    def prefill(self, rows: int) -> float:
        found: float = self._ask(prefill=rows)["ms"]
        return found

    def decode(self, filled: int, steps: int) -> list[float]:
        found: list[float] = self._ask(decode=filled, steps=steps)["ms"]
        return found

    def _ask(self, **question: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OmnijetError("llama.cpp stopped", got=f"exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def llama(
    folder: Path, dims: DecoderDims, threads: int, context: int, log: Path
) -> Iterator[Llama | None]:
    """Starts the peer at the dimensions of a Thinker; None if it was not installed.

    Args:
        folder: of the peers' environments; the model of random blocks is kept there, too.
        context: the most rows of its cache.
        log: what the library says goes there.
    """
    python = python_of("llama", folder)
    if python is None:
        print("no llama.cpp: python -m tools.bench.peers install llama", file=sys.stderr)
        yield None
        return
    model = model_file(folder, python, dims)
    command = [str(python), str(HERE / "llama_peer.py"), str(model)]
    command += ["--threads", str(threads), "--context", str(context)]
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            yield Llama(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # it ends at the end of its input
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def model_file(folder: Path, python: Path, dims: DecoderDims) -> Path:
    """Returns a model of random blocks at exact dimensions, written once."""
    facts = {name: value for name, value in asdict(dims).items() if name in FACTS}
    name = "-".join(str(facts[fact]) for fact in FACTS)
    path = folder / f"random-q4_0-{name}.gguf"
    if not path.exists():
        given, staging = path.with_suffix(".json"), path.with_suffix(".part")
        given.write_text(json.dumps(facts), encoding="utf-8")
        subprocess.run(
            [str(python), str(HERE / "gguf_peer.py"), str(staging), str(given)], check=True
        )
        given.unlink()
        staging.rename(path)
    return path
