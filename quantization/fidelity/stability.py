"""Thinker and Talker step by step, far beyond a reply: do their numbers stay numbers?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from omnijet.quantization.fidelity.following import SEED, Fed
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.talker import TALKER_SAMPLING, prompt_rows
from omnijet.runtime.model.thinker import THINKER_SAMPLING
from omnijet.runtime.omni import Omni


@dataclass(frozen=True, slots=True)
class Stability:
    """Attributes:
    steps: that both made together, all finite unless `broke` names whose logits were not.
    """

    steps: int
    broke: str | None = None


class _Broke(Exception):
    """Logits with a NaN or an infinity."""


class _Watched(Sampler):
    """A sampler that lets no such logits pass."""

    def __init__(self, name: str, sampler: Sampler) -> None:
        self._name = name
        self._sampler = sampler

    def __call__(self, logits: Array) -> int:
        if not np.isfinite(logits).all():
            raise _Broke(self._name)
        return self._sampler(logits)


def endure(omni: Omni, fed: Fed, steps: int, progress: Callable[[int], None]) -> Stability:
    """Goes on after a prompt for `steps` text tokens and as many codes, by turns.

    Neither may end: their end tokens are suppressed. A context that has less room makes
    fewer steps. `progress` is told the steps done.
    """
    length, dims = fed.prompt.input_ids.size, omni.model.dims
    wanted = min(steps, omni.model.context_limit - length - 3)  # the Talker reads two rows more
    done = 0
    try:
        for _ in _codes(omni, fed, wanted):
            done += 1
            progress(done)
    except _Broke as broke:
        return Stability(done, str(broke))
    assert done == wanted, f"{done} of {wanted} steps with {dims.codec} suppressed"
    return Stability(done)


def _codes(omni: Omni, fed: Fed, steps: int) -> chain[int]:
    thinker, talker, dims = omni.model.thinker, omni.model.talker, omni.model.dims
    length = fed.prompt.input_ids.size
    prefill = thinker.prefill(
        thinker.decoder.start(length), fed.embeds, fed.prompt.positions, fed.prompt.delta
    )
    endless = replace(THINKER_SAMPLING, suppress=tuple(dims.tokens.eos))
    writing = Sampler(endless, dims.thinker.vocab, (), np.random.default_rng(SEED))
    written = thinker.generate(prefill, _Watched("thinker", writing), steps + 2)
    first = next(written)
    assert first.reply_row is not None
    _, mark = omni.bundle.voice_id(None)
    rows = prompt_rows(fed.embeds, prefill.hidden, fed.prompt.is_encoded)
    positions, delta = fed.prompt.positions_with(2)
    context = talker.decoder.start(length + 2)
    logits = talker.prefill(
        context, np.concatenate([rows, talker.opening_rows(mark, first.reply_row)]), positions
    )
    ends = (dims.codec.bos, dims.codec.pad, dims.codec.eos)
    drawing = talker.sampler(
        replace(TALKER_SAMPLING, suppress=ends), length, np.random.default_rng(SEED)
    )
    texts = (step.reply_row for step in written if step.reply_row is not None)
    # the last draw is dropped, as in a conversation
    codes = talker.generate(context, logits, texts, delta, _Watched("talker", drawing), steps + 1)
    return chain(codes)
