"""The step graphs: a Qwen2-style decoder over KV caches that are written in place.

Source: `Qwen2_5OmniThinkerTextModel` and `Qwen2_5OmniTalkerForConditionalGeneration` of
transformers 4.57.6. One graph serves prefill (many rows) and decode (one row, or a few of which the
later ones are guesses). The head is a sixth of a 3B's products, so the Thinker computes logits of
the rows that its caller picks, and the Talker those of the last row.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import silu

from omnijet.export.modules import ops
from omnijet.export.modules.base import TORCH_DTYPES, Linear
from omnijet.export.modules.layers import RMSNorm, merge_heads, split_heads
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.bundle.dims import DecoderDims

# The SwiGLU product of Qwen2-class models exceeds the range of f16 (65504) on massive activations.
# A factor of 2**-6 extends the range to four million; its rounding stays below 1e-5.
DOWN_SHIFT = 6


class Layer(nn.Module):
    """One decoder layer: pre-norm attention and SwiGLU; the residual stream stays f32."""

    def __init__(self, key: str, dims: DecoderDims, precision: Precision) -> None:
        super().__init__()
        self.dims = dims
        self.cache_dtype = TORCH_DTYPES[precision]
        self.q_width = dims.heads * dims.head_dim
        self.kv_width = dims.kv_heads * dims.head_dim
        self.input_norm = RMSNorm(f"{key}.input_layernorm", dims.hidden, dims.rms_eps)
        self.qkv = Linear(
            [f"{key}.self_attn.{name}_proj" for name in "qkv"],
            dims.hidden,
            (self.q_width, self.kv_width, self.kv_width),
            bias=True,
            precision=precision,
        )
        self.output = Linear(
            f"{key}.self_attn.o_proj", self.q_width, dims.hidden, bias=False, precision=precision
        )
        self.mlp_norm = RMSNorm(f"{key}.post_attention_layernorm", dims.hidden, dims.rms_eps)
        self.gate_up = Linear(
            (f"{key}.mlp.gate_proj", f"{key}.mlp.up_proj"),
            dims.hidden,
            (dims.ffn, dims.ffn),
            bias=False,
            precision=precision,
        )
        self.down = Linear(
            f"{key}.mlp.down_proj",
            dims.ffn,
            dims.hidden,
            bias=False,
            precision=precision,
            shift=DOWN_SHIFT,
        )

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        write_index: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Maps x f32[1, rows, hidden] to the same shape and returns the updated caches."""
        dims = self.dims
        q, k, v = self.qkv(self.input_norm(x)).split(
            [self.q_width, self.kv_width, self.kv_width], dim=-1
        )
        q = ops.rotary(split_heads(q, dims.heads, dims.head_dim), cos, sin)
        k = ops.rotary(split_heads(k, dims.kv_heads, dims.head_dim), cos, sin)
        v = split_heads(v, dims.kv_heads, dims.head_dim)
        keys = ops.cache_update(keys, k.to(self.cache_dtype), write_index)
        values = ops.cache_update(values, v.to(self.cache_dtype), write_index)
        seen = ops.attention(q.to(self.cache_dtype), keys, values, mask)
        x = x + self.output(merge_heads(seen))
        gate, up = self.gate_up(self.mlp_norm(x)).split([dims.ffn, dims.ffn], dim=-1)
        return x + self.down(silu(gate) * up), keys, values


class Decoder(nn.Module):
    """The decoder's layers and final norm, without embedding and head."""

    def __init__(self, key: str, dims: DecoderDims, precision: Precision) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(f"{key}.layers.{index}", dims, precision) for index in range(dims.layers)
        )
        self.norm = RMSNorm(f"{key}.norm", dims.hidden, dims.rms_eps)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        write_index: Tensor,
        caches: tuple[Tensor, ...],
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns hidden states after the norm, f32[1, rows, hidden], and the updated caches."""
        updated: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            keys, values = caches[2 * index : 2 * index + 2]
            x, keys, values = layer(x, cos, sin, mask, write_index, keys, values)
            updated += [keys, values]
        return self.norm(x), updated


class ThinkerStep(nn.Module):
    """The graph `thinker_step`."""

    def __init__(self, dims: DecoderDims, precision: Precision) -> None:
        super().__init__()
        self.decoder = Decoder("thinker.model", dims, precision)
        self.head = Linear(
            "thinker.lm_head", dims.hidden, dims.vocab, bias=False, precision=precision
        )

    def forward(
        self,
        embeds: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        write_index: Tensor,
        head_rows: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        hidden, updated = self.decoder(embeds, cos, sin, mask, write_index, caches)
        picked = hidden[0].index_select(0, head_rows)
        return self.head(picked), hidden, *updated


class TalkerStep(nn.Module):
    """The graph `talker_step`, which first projects the Thinker's width to its own."""

    def __init__(self, dims: DecoderDims, precision: Precision) -> None:
        super().__init__()
        self.projection = Linear(
            "talker.thinker_to_talker_proj",
            dims.embed_width,
            dims.hidden,
            bias=True,
            precision=precision,
        )
        self.decoder = Decoder("talker.model", dims, precision)
        self.head = Linear(
            "talker.codec_head", dims.hidden, dims.vocab, bias=False, precision=precision
        )

    def forward(
        self,
        embeds: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        write_index: Tensor,
        *caches: Tensor,
    ) -> tuple[Tensor, ...]:
        projected = self.projection(embeds)
        hidden, updated = self.decoder(projected, cos, sin, mask, write_index, caches)
        return self.head(hidden[:, -1]), *updated
