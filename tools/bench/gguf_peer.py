"""Writes a model of random blocks for llama.cpp; runs in the environment of the peer `llama`.

    python gguf_peer.py OUT.gguf DIMS.json

DIMS has hidden, layers, ffn, heads, kv_heads, head_dim and vocab. Layers and the embedding are
Q4_0, and the head is Q6_K, as llama.cpp's own quantizer leaves them in a file of Q4_0. Values are
random bytes with scales that keep activations finite: a product's time does not depend on them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

CONTEXT = 32768
SPREAD = 0.02  # standard deviation of the weights, nearly


class Blocks:
    """Random blocks in the formats of llama.cpp, as bytes [rows, bytes of a row]."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def q4_0(self, rows: int, columns: int) -> np.ndarray:
        """32 weights of 4 bits behind a scale of f16."""
        blocks = self._random.integers(0, 256, (rows, columns // 32, 18), np.uint8)
        blocks[..., :2] = _half(SPREAD / 4.6)  # of numbers from -8 to 7
        return blocks.reshape(rows, -1)

    def q6_k(self, rows: int, columns: int) -> np.ndarray:
        """256 weights: 128 bytes of low bits, 64 of high bits, 16 scales of 8 bits, one of f16."""
        if columns % 256:
            raise SystemExit(f"Q6_K needs rows of 256 weights, not {columns}")
        blocks = self._random.integers(0, 256, (rows, columns // 256, 210), np.uint8)
        blocks[..., 192:208] = 16
        blocks[..., 208:] = _half(SPREAD / 18.5 / 16)  # of numbers from -32 to 31
        return blocks.reshape(rows, -1)


def _half(scale: float) -> np.ndarray:
    return np.array([scale], np.float16).view(np.uint8)


def write(path: Path, dims: dict[str, int]) -> None:
    hidden, ffn, vocab = dims["hidden"], dims["ffn"], dims["vocab"]
    inner, shared = (dims[heads] * dims["head_dim"] for heads in ("heads", "kv_heads"))
    writer = GGUFWriter(path, "qwen2")
    writer.add_block_count(dims["layers"])
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(dims["heads"])
    writer.add_head_count_kv(dims["kv_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(vocab)
    writer.add_file_type(2)  # mostly Q4_0
    writer.add_tokenizer_model("no_vocab")
    blocks = Blocks()

    def q4_0(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, blocks.q4_0(rows, columns), raw_dtype=GGMLQuantizationType.Q4_0)

    q4_0("token_embd.weight", vocab, hidden)
    head = blocks.q6_k(vocab, hidden)
    writer.add_tensor("output.weight", head, raw_dtype=GGMLQuantizationType.Q6_K)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for layer in range(dims["layers"]):
        name = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{name}{norm}.weight", np.ones(hidden, np.float32))
        for part, rows in (("q", inner), ("k", shared), ("v", shared)):
            q4_0(f"{name}attn_{part}.weight", rows, hidden)
            writer.add_tensor(f"{name}attn_{part}.bias", np.zeros(rows, np.float32))
        q4_0(f"{name}attn_output.weight", hidden, inner)
        q4_0(f"{name}ffn_gate.weight", ffn, hidden)
        q4_0(f"{name}ffn_up.weight", ffn, hidden)
        q4_0(f"{name}ffn_down.weight", hidden, ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
