"""The part of the benchmark that runs in an environment with llama-cpp-python alone.

    python llama_peer.py MODEL.gguf --threads N --context ROWS

It reads one JSON object a line and answers each with one:

* `{"prefill": ROWS}`: milliseconds to read as many new tokens, in batches of 512;
* `{"decode": FILLED, "steps": N}`: a list of milliseconds, each for one token on top of as many
  rows in the cache.

Only the last token's logits are computed and fetched; nothing is sampled.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import sys
from time import perf_counter

import llama_cpp as llama

BATCH = 512  # tokens of one call, as llama.cpp does by default
BLOCK = 128  # rows that fill a cache by copies
SPARE = 256  # rows beyond the fullest cache: new tokens, and cells that are counted in blocks


class Model:
    """A model with one context."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        if not self.model:
            raise SystemExit(f"{path}: not a model that llama.cpp reads")
        options = llama.llama_context_default_params()
        options.n_ctx = context + SPARE
        options.n_batch = options.n_ubatch = BATCH
        options.n_threads = options.n_threads_batch = threads
        options.n_seq_max = 2  # the sequence, and one that its cache is filled from
        options.kv_unified = True  # both in the same cells
        self.context = llama.llama_init_from_model(self.model, options)
        if not self.context:
            raise SystemExit("llama.cpp made no context")
        self.memory = llama.llama_get_memory(self.context)
        self.filled = -1
        self._feed(BLOCK, 0)  # warm
        llama.llama_memory_clear(self.memory, True)

    def prefill(self, rows: int) -> float:
        """Returns the milliseconds in which an empty cache gets `rows` rows."""
        llama.llama_memory_clear(self.memory, True)
        self.filled = -1
        began = perf_counter()
        for start in range(0, rows, BATCH):
            self._feed(min(BATCH, rows - start), start)
        return 1e3 * (perf_counter() - began)

    def decode(self, filled: int, steps: int) -> list[float]:
        """Returns the milliseconds of single tokens at position `filled`."""
        if self.filled != filled:
            self._fill(filled)
            self._feed(1, filled)  # moves the copied keys to their positions
            llama.llama_memory_seq_rm(self.memory, 0, filled, -1)
        times = []
        for _ in range(steps):
            began = perf_counter()
            self._feed(1, filled)
            times.append(1e3 * (perf_counter() - began))
            llama.llama_memory_seq_rm(self.memory, 0, filled, -1)
        return times

    def _fill(self, rows: int) -> None:
        """Fills the cache with copies of one block, each moved to its place."""
        self.filled = -1
        llama.llama_memory_clear(self.memory, True)
        self._feed(BLOCK, 0)
        size = llama.llama_state_seq_get_size(self.context, 0)
        state = (ctypes.c_uint8 * size)()
        llama.llama_state_seq_get_data(self.context, state, size, 0)
        for start in range(BLOCK, rows, BLOCK):
            if not llama.llama_state_seq_set_data(self.context, state, size, 1):
                raise SystemExit("llama.cpp took no copy of its cache")
            llama.llama_memory_seq_add(self.memory, 1, 0, -1, start)
            llama.llama_memory_seq_cp(self.memory, 1, 0, start, -1)
            llama.llama_memory_seq_rm(self.memory, 1, -1, -1)
        llama.llama_memory_seq_rm(self.memory, 0, rows, -1)
        last = llama.llama_memory_seq_pos_max(self.memory, 0)
        if last != rows - 1:
            raise SystemExit(f"llama.cpp's cache ends at row {last}, not {rows - 1}")
        self.filled = rows

    def _feed(self, count: int, position: int) -> None:
        batch = llama.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for index in range(count):
            batch.token[index] = (7 * (position + index)) % 1000
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == count - 1
        failed = llama.llama_decode(self.context, batch)
        llama.llama_batch_free(batch)
        if failed:
            raise SystemExit(f"llama_decode failed with {failed}")
        llama.llama_get_logits_ith(self.context, -1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama_peer.py", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")  # the library may write to the usual output
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        model = Model(options.model, options.threads, options.context)
        print(json.dumps({"ready": llama.__version__}), file=answers, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if "prefill" in asked:
                answer = {"ms": model.prefill(asked["prefill"])}
            else:
                answer = {"ms": model.decode(asked["decode"], asked["steps"])}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
