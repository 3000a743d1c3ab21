"""The decoder's caches: chunks, buckets and growth change nothing but time."""

from __future__ import annotations

import numpy as np
import pytest

from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model import decoder as module
from omnijet.runtime.model.decoder import Context, Decoder
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model


@pytest.fixture
def make(omni: Omni, monkeypatch: pytest.MonkeyPatch):
    """Makes decoders over the nano Thinker with given chunk, bucket and limit."""

    def made(chunk: int = 512, bucket: int = 256, limit: int = 1000) -> Decoder:
        monkeypatch.setattr(module, "PREFILL_ROWS", chunk)
        monkeypatch.setattr(module, "SMALLEST_BUCKET", bucket)
        return Decoder(omni.model.graph("thinker_step"), omni.model.dims.thinker, limit)

    return made


def embeds(decoder: Decoder, rows: int) -> Array:
    rng = np.random.default_rng(rows)
    return 0.6 * rng.standard_normal((rows, decoder.dims.embed_width), dtype=np.float32)


def positions(rows: int) -> Array:
    return np.broadcast_to(np.arange(rows), (3, rows))


def run(decoder: Decoder, prompt: int, steps: int) -> tuple[list[Array], Context]:
    """Returns the logits after the prefill and after each step."""
    rows = embeds(decoder, prompt + steps)
    context = decoder.start(prompt)
    logits = [decoder.prefill(context, rows[:prompt], positions(prompt)).logits.copy()]
    for step in range(prompt, prompt + steps):
        logits.append(decoder.decode(context, rows[step], step).logits.copy())
    return logits, context


@pytest.mark.parametrize(("chunk", "bucket"), [(7, 256), (64, 16), (1, 16), (512, 64)])
def test_chunks_and_growth_change_nothing(make, chunk: int, bucket: int) -> None:
    expected, _ = run(make(), 50, 30)
    got, context = run(make(chunk, bucket), 50, 30)
    assert context.state.capacity == (256 if bucket == 256 else 128)
    for one, other in zip(got, expected, strict=True):
        assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()


def test_hidden_states_come_for_every_prompt_row(make) -> None:
    decoder = make(chunk=7)
    context = decoder.start(20)
    _, hidden = decoder.prefill(context, embeds(decoder, 20), positions(20))
    whole = make()
    context = whole.start(20)
    _, expected = whole.prefill(context, embeds(whole, 20), positions(20))
    assert hidden is not None and expected is not None and hidden.shape[0] == 20
    assert np.abs(hidden - expected).max() <= 2e-5 * np.abs(expected).max()


def test_a_step_allocates_no_cache(make) -> None:
    """The graph reads the arrays that it wrote."""
    decoder = make()
    context = decoder.start(10)
    before = {name: array.ctypes.data for name, array in context.state.arrays.items()}
    rows = embeds(decoder, 12)
    decoder.prefill(context, rows[:10], positions(10))
    keys = context.state.arrays["key_cache_0"]
    assert np.abs(keys[:, :, :10]).min(axis=(0, 1, 3)).all() and not keys[:, :, 10:].any()
    decoder.decode(context, rows[10], 10)
    assert keys[:, :, 10].any() and not keys[:, :, 11:].any()
    assert before == {name: array.ctypes.data for name, array in context.state.arrays.items()}


def test_steps_after_a_rewind_see_nothing_of_what_was_forgotten(make) -> None:
    """The step reuses the buffers of the steps before it."""
    decoder = make()
    rows = embeds(decoder, 40)
    _, context = run(decoder, 20, 10)
    bound = context.step
    context.rewind(15)
    fresh = decoder.start(15)
    decoder.prefill(fresh, embeds(decoder, 30)[:15], positions(15))  # what `run` fed first
    for step in range(15, 24):
        one = decoder.decode(context, rows[step], step).logits.copy()
        other = decoder.decode(fresh, rows[step], step).logits.copy()
        assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()
    assert context.step is bound


def test_buckets_double_and_stop_at_the_limit(make) -> None:
    decoder = make(bucket=16, limit=100)
    assert [decoder.start(rows).state.capacity for rows in (1, 16, 17, 64, 65, 100)] == [
        16, 16, 32, 64, 100, 100,
    ]  # fmt: skip
    with pytest.raises(OmnijetError, match="too small"):
        decoder.start(101)


def test_a_full_cache_ends_the_reply(omni: Omni) -> None:
    question = [{"role": "user", "content": "Hi"}]
    free = omni.generate(question, speech=False, max_text_tokens=40)
    small = Omni(Model(omni.bundle, omni.model.backend, context_limit=free.prompt_tokens + 8))
    reply = small.generate(question, speech=False, max_text_tokens=40)
    assert reply.text_ids == free.text_ids[:9] or free.text_ids == reply.text_ids


def test_a_prompt_without_room_to_speak_is_refused_before_any_work(omni: Omni) -> None:
    question = [{"role": "user", "content": "Hi"}]
    prompt = omni.generate(question, speech=False, max_text_tokens=1).prompt_tokens
    tight = Omni(Model(omni.bundle, omni.model.backend, context_limit=prompt + 2))
    assert tight.generate(question, speech=False, max_text_tokens=2).text_ids
    with pytest.raises(OmnijetError, match="does not fit the KV cache"):
        tight.generate(question)
    with pytest.raises(OmnijetError, match="context_limit"):
        Omni(Model(omni.bundle, omni.model.backend, context_limit=0))
