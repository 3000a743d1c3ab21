"""The decoder's caches: chunks, buckets and growth change nothing but time."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from omnijet.runtime.backends.lanes import Lanes, PassingGraph
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.model import decoder as module
from omnijet.runtime.model.decoder import Context, Decoder
from omnijet.runtime.omni import Omni
from omnijet.runtime.talk.model import Model


@pytest.fixture
def make(omni: Omni, monkeypatch: pytest.MonkeyPatch):
    """Makes decoders over the nano Thinker with given chunk, bucket, limit and growth."""

    def made(
        chunk: int = 512, bucket: int = 256, limit: int = 1000, growth: int | None = None
    ) -> Decoder:
        monkeypatch.setattr(module, "PREFILL_ROWS", chunk)
        monkeypatch.setattr(module, "SMALLEST_BUCKET", bucket)
        graph = PassingGraph(omni.model.graph("thinker_step"), Lanes())
        graph.growth = growth
        return Decoder(graph, omni.model.dims.thinker, limit)

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


@pytest.mark.parametrize(
    ("chunk", "bucket", "growth", "capacity"),
    [(7, 256, None, 256), (64, 16, None, 128), (1, 16, None, 128), (512, 64, None, 128),
     (64, 16, 16, 80), (512, 256, 7, 84), (7, 64, 100, 100)],
)  # fmt: skip
def test_chunks_and_growth_change_nothing(
    make, chunk: int, bucket: int, growth: int | None, capacity: int
) -> None:
    expected, _ = run(make(), 50, 30)
    got, context = run(make(chunk, bucket, growth=growth), 50, 30)
    assert context.state.capacity == capacity
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
    bound = context.steps[1].bound
    context.rewind(15)
    fresh = decoder.start(15)
    decoder.prefill(fresh, embeds(decoder, 30)[:15], positions(15))  # what `run` fed first
    for step in range(15, 24):
        one = decoder.decode(context, rows[step], step).logits.copy()
        other = decoder.decode(fresh, rows[step], step).logits.copy()
        assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()
    assert context.steps[1].bound is bound


@pytest.mark.parametrize("growth", [None, 5])
def test_a_step_of_several_rows_is_as_many_steps(make, growth: int | None) -> None:
    """Rows are forgotten and fed again in between, and the caches grow."""
    decoder = make(bucket=16, growth=growth)
    wanted, hidden = [], []
    context = decoder.start(20)
    rows = embeds(decoder, 60)
    decoder.prefill(context, rows[:20], positions(20))
    for place in range(20, 60):
        one = decoder.decode(context, rows[place], place)
        assert one.hidden is not None
        wanted.append(one.logits.copy())
        hidden.append(one.hidden[0].copy())
    context = decoder.start(20)
    decoder.prefill(context, rows[:20], positions(20))
    noise = np.random.default_rng(1).permutation(rows)
    place = 20
    for count, kept in [(3, 3), (2, 1), (16, 2), (1, 1), (8, 8), (3, 1), (2, 2), (16, 16), (6, 6)]:
        fed = np.concatenate([rows[place : place + kept], noise[: count - kept]])
        got = decoder.step(context, fed, place)
        assert got.logits.shape[0] == count and context.filled == place + count
        context.rewind(place + 1)
        context.accept(kept - 1)
        for row in range(kept):
            for one, other in ((got.logits, wanted), (got.hidden, hidden)):
                right = other[place - 20 + row]
                assert np.abs(one[row] - right).max() <= 2e-5 * np.abs(right).max()
        place += kept
    assert place == 60


def test_caches_grow_one_after_the_other(make) -> None:
    """What was bound to the old ones is gone before, so that they are freed as it goes."""
    decoder = make(growth=16)
    _, context = run(decoder, 16, 0)
    old = [weakref.ref(array) for array in context.state.arrays.values()]
    decoder.decode(context, embeds(decoder, 1)[0], 16)
    assert context.state.capacity == 32 and not any(one() is not None for one in old)


def test_buckets_grow_evenly_where_the_backend_wants_it(make) -> None:
    decoder = make(limit=100, growth=16)
    assert [decoder.start(rows).state.capacity for rows in (1, 16, 17, 64, 65, 97, 100)] == [
        16, 16, 32, 64, 80, 100, 100,
    ]  # fmt: skip
    decoder = make(limit=600, growth=2)
    assert [decoder.start(rows).state.capacity for rows in (1, 127, 129, 300, 511)] == [
        2, 128, 132, 304, 518,
    ]  # fmt: skip


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
