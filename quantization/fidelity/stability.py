"""Checks that logits of Thinker and Talker stay finite far beyond the length of a reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from omnijet.quantization.fidelity.following import SEED, Fed
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.model.sampling import Sampler
from omnijet.runtime.model.talker import TALKER_SAMPLING, prompt_rows
from omnijet.runtime.model.thinker import THINKER_SAMPLING, TextStep, ThinkerPrefill
from omnijet.runtime.omni import Omni


@dataclass(frozen=True, slots=True)
class Stability:
    """The outcome of a long run.

    Attributes:
        steps: number of steps that Thinker and Talker made together, or the Thinker alone in a
            bundle without a voice.
        broke: names the graph whose logits were not finite; None: all were.
    """

    steps: int
    broke: str | None = None


class _Broke(Exception):
    """Logits with a NaN or an infinity."""


class _Watched(Sampler):
    """A sampler that raises on logits with a NaN or an infinity."""

    def __init__(self, name: str, sampler: Sampler) -> None:
        self._name = name
        self._sampler = sampler

    def __call__(self, logits: Array) -> int:
        if not np.isfinite(logits).all():
            raise _Broke(self._name)
        return self._sampler(logits)


def endure(omni: Omni, fed: Fed, steps: int, progress: Callable[[int], None]) -> Stability:
    """Continues after a prompt for `steps` text tokens and as many codes in turn, if it speaks.

    End tokens are suppressed. A shorter context makes fewer steps. `progress` receives the number
    of steps done.
    """
    length, dims = fed.prompt.input_ids.size, omni.model.dims
    wanted = min(steps, omni.model.context_limit - length - 3)  # the Talker needs two more rows
    done = 0
    try:
        for _ in _codes(omni, fed, wanted) if dims.has_voice else _texts(omni, fed, wanted):
            done += 1
            progress(done)
    except _Broke as broke:
        return Stability(done, str(broke))
    assert done == wanted, f"{done} of {wanted} steps with the end tokens suppressed"
    return Stability(done)


def _written(omni: Omni, fed: Fed, steps: int) -> tuple[ThinkerPrefill, Iterator[TextStep]]:
    thinker, dims = omni.model.thinker, omni.model.dims
    prefill = thinker.prefill(
        thinker.decoder.start(fed.prompt.input_ids.size),
        fed.embeds,
        fed.prompt.positions,
        fed.prompt.delta,
    )
    endless = replace(THINKER_SAMPLING, suppress=tuple(dims.tokens.eos))
    writing = Sampler(endless, dims.thinker.vocab, (), np.random.default_rng(SEED))
    return prefill, thinker.generate(prefill, _Watched("thinker", writing), steps)


def _texts(omni: Omni, fed: Fed, steps: int) -> Iterator[TextStep]:
    return _written(omni, fed, steps)[1]


def _codes(omni: Omni, fed: Fed, steps: int) -> Iterator[int]:
    talker, dims, length = omni.model.talker, omni.model.dims, fed.prompt.input_ids.size
    prefill, written = _written(omni, fed, steps + 2)
    first = next(written)
    assert first.reply_row is not None
    _, mark = omni.bundle.voice_id(None)
    rows = prompt_rows(fed.embeds, prefill.hidden, fed.prompt.is_encoded)
    positions, delta = fed.prompt.positions_with(2)
    context = talker.decoder.start(length + 2)
    logits = talker.prefill(
        context, np.concatenate([rows, talker.opening_rows(mark, first.reply_row)]), positions
    )
    ends = (dims.codec.bos, *dims.codec.ends)
    drawing = talker.sampler(
        replace(TALKER_SAMPLING, suppress=ends), length, np.random.default_rng(SEED)
    )
    texts = (step.reply_row for step in written if step.reply_row is not None)
    # the last draw is dropped, as in a conversation
    return talker.generate(context, logits, texts, delta, _Watched("talker", drawing), steps + 1)
