"""Thinker and Talker: decode steps at several lengths, and prefill, beside llama.cpp."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import numpy as np

from omnijet.runtime.bundle.contract import Array, widened
from omnijet.runtime.bundle.dims import DecoderDims
from omnijet.runtime.model.decoder import Context, Decoder
from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling import workload
from tools.bench.llama import Llama, llama
from tools.bench.parts.setting import Setting
from tools.bench.row import LLAMA, TRANSFORMERS, Row

LENGTHS = {
    "middle": (128, 512, 2048),
    "full": (128, 512, 2048, 4000, 8192, 32768),
}
"""Rows in the cache, that of the step among them."""
PREFILLS = {"middle": {128: 3, 512: 2}, "full": {128: 3, 512: 2, 2048: 1}}
"""Rows of a prompt, and how often each is measured."""
ROUNDS, STEPS = 4, 8
TALKER_ROWS, TALKER_STEPS = 300, 60
REST_S = 0.3  # until the other side's threads, which wait busily, sleep


def decode(setting: Setting) -> list[Row]:
    """Times single steps of the Thinker; ours and llama.cpp's take turns, and so do the lengths: a
    machine that others use, too, is another one each minute.
    """
    rows: list[Row] = []
    lengths = LENGTHS[setting.size]
    with setting.opened() as omni, _peer(setting, omni, max(lengths)) as peer:
        dims, thinker = omni.model.dims.thinker, omni.model.thinker
        steppers = {one: Stepper(thinker.decoder, thinker.embedding, one) for one in lengths}
        times: dict[int, tuple[list[float], list[float]]] = {one: ([], []) for one in lengths}
        for _ in range(ROUNDS):
            for length, (ours, theirs) in times.items():
                ours += steppers[length].run(STEPS)
                sleep(REST_S)
                if peer is not None:
                    theirs += peer.decode(length - 1, STEPS)
                    sleep(REST_S)
        for length, (ours, theirs) in times.items():
            least = workload.decode_step(omni.bundle.manifest, "thinker_step", dims, length)
            rows.append(
                Row(
                    f"Thinker {setting.title}, a step at {length:,} rows",
                    "tokens/s",
                    1e3 / median(ours),
                    setting.rates.read / least.bytes,
                    f"{least.bytes / 1e9:.2f} GB of weights and cache",
                    {LLAMA: 1e3 / median(theirs)} if theirs else {},
                    f"{rows[0].ours * median(ours) / 1e3:.2f} x a step at 128" if rows else "",
                )
            )
    return rows


def prefill(setting: Setting) -> list[Row]:
    """Times prompts of the Thinker; ours and llama.cpp's take turns."""
    rows = []
    prompts = PREFILLS[setting.size]
    with setting.opened() as omni, _peer(setting, omni, max(prompts)) as peer:
        dims, decoder = omni.model.dims.thinker, omni.model.thinker.decoder
        read(decoder, omni.model.thinker.embedding, 64)  # warm
        for length, rounds in prompts.items():
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(read(decoder, omni.model.thinker.embedding, length))
                sleep(REST_S)
                if peer is not None:
                    theirs.append(peer.prefill(length))
                    sleep(REST_S)
            least = workload.prefill(omni.bundle.manifest, "thinker_step", dims, length)
            rows.append(
                Row(
                    f"Thinker {setting.title}, prefill of {length:,} rows",
                    "tokens/s",
                    1e3 * length / median(ours),
                    length * setting.rates.int8 / least.operations,
                    f"{least.operations / 1e12:.2f} TFLOP in 8 bits",
                    {LLAMA: 1e3 * length / median(theirs)} if theirs else {},
                )
            )
    return rows


def talker(setting: Setting) -> list[Row]:
    """Times steps of the Talker in INT8 and in INT4, beside transformers' module."""
    bundles: dict[str, Path] = {}
    if setting.size == "full":
        bundles["INT8"] = setting.makes.talker_in_int8()
    bundles["INT4"] = setting.int4()
    rows = []
    theirs: float | None = None
    for label, bundle in bundles.items():
        with Omni.open(bundle) as omni:
            dims, part = omni.model.dims.talker, omni.model.talker
            stepper = Stepper(part.decoder, part.codec_embedding, TALKER_ROWS)
            ours = median(stepper.run(TALKER_STEPS))
            theirs = theirs or reference_talker(dims)
            least = workload.decode_step(omni.bundle.manifest, "talker_step", dims, TALKER_ROWS)
            rows.append(
                Row(
                    f"Talker {setting.title}, {label}, a step at {TALKER_ROWS} rows",
                    "steps/s",
                    1e3 / ours,
                    setting.rates.read / least.bytes,
                    f"{least.bytes / 1e6:.0f} MB of weights and cache",
                    {TRANSFORMERS: 1e3 / theirs},
                    "real time is 50" if setting.size == "full" else "",
                )
            )
    return rows


class Stepper:
    """A decoder whose cache is filled: every step is taken at the same length.

    The cache holds zeros, because no kernel's time depends on values.

    Args:
        length: rows in the cache, that of the step among them.
    """

    def __init__(self, decoder: Decoder, table: Array, length: int) -> None:
        self._decoder, self._table, self._filled = decoder, table, length - 1
        self._context: Context = decoder.start(length)
        self._context.filled = self._filled
        self.run(2)  # warm

    def run(self, steps: int) -> list[float]:
        """Returns the milliseconds of single steps, the row of the embedding included."""
        times = []
        for index in range(steps):
            began = perf_counter()
            row = widened(self._table[index])
            self._decoder.decode(self._context, row, self._filled)
            times.append(1e3 * (perf_counter() - began))
            self._context.rewind(self._filled)
        return times


def read(decoder: Decoder, table: Array, length: int, filled: int = 0) -> float:
    """Returns the milliseconds in which a cache with `filled` rows gets a prompt."""
    ids = np.random.default_rng(0).integers(0, len(table), length)
    context = decoder.start(filled + length)
    context.filled = filled
    began = perf_counter()
    positions = np.broadcast_to(np.arange(filled, filled + length), (3, length))
    decoder.prefill(context, widened(table[ids]), positions)
    return 1e3 * (perf_counter() - began)


def reference_talker(dims: DecoderDims) -> float:
    """Returns the milliseconds of a step of transformers' Talker, in f32 or bf16.

    The faster of both counts. It is the decoder with projection and head alone, with weights of
    the initial distribution: `generate` adds to that.
    """
    import torch  # heavy: parts without it start at once
    from transformers import DynamicCache
    from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as reference

    config = reference.Qwen2_5OmniTalkerConfig(
        hidden_size=dims.hidden, num_hidden_layers=dims.layers, num_attention_heads=dims.heads,
        num_key_value_heads=dims.kv_heads, head_dim=dims.head_dim, intermediate_size=dims.ffn,
        vocab_size=dims.vocab, embedding_size=dims.embed_width,
        rope_scaling={"mrope_section": list(dims.mrope_section), "rope_type": "default"},
    )  # fmt: skip
    best = float("inf")
    for dtype in (torch.float32, torch.bfloat16):
        model = reference.Qwen2_5OmniTalkerForConditionalGeneration._from_config(
            config, dtype=dtype
        ).eval()
        with torch.no_grad():
            cache = DynamicCache()

            def feed(count: int, position: int, model=model, cache=cache, dtype=dtype) -> None:
                embeds = torch.ones(1, count, dims.embed_width, dtype=dtype)
                places = torch.arange(position, position + count)
                out = model.model(
                    inputs_embeds=model.thinker_to_talker_proj(embeds), past_key_values=cache,
                    position_ids=places.expand(3, 1, -1), use_cache=True,
                )  # fmt: skip
                model.codec_head(out.last_hidden_state[:, -1:])

            feed(TALKER_ROWS - 1, 0)
            times = []
            for _ in range(12):
                began = perf_counter()
                feed(1, TALKER_ROWS - 1)
                times.append(1e3 * (perf_counter() - began))
                cache.crop(TALKER_ROWS - 1)
            best = min(best, median(times[2:]))
        del model
    return best


def _peer(setting: Setting, omni: Omni, context: int) -> AbstractContextManager[Llama | None]:
    log = setting.makes.folder / "llama.log"
    return llama(setting.peers, omni.model.dims.thinker, setting.threads, context, log)
