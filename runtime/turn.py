"""One turn: from messages to the text and codec tokens of the reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.clock import Clock
from runtime.contract import Array
from runtime.errors import OmnijetError
from runtime.interleave import interleave
from runtime.messages import parse_messages
from runtime.options import Options
from runtime.prompt import Prompt, build_prompt
from runtime.reply import Reply
from runtime.sampling import Sampler, Sampling
from runtime.thinker import TextStep, ThinkerPrefill

if TYPE_CHECKING:
    from runtime.pipeline import Omni

SAMPLE_RATE_HZ = 24_000

Check = Callable[[], None]
"""Called before every graph call; raises to end the turn."""


def never() -> None:
    """The check of a turn that nothing ends early."""


@dataclass(slots=True)
class Turn:
    """What is known of a turn so far.

    Attributes:
        voice, voice_token: who speaks.
        prompt_tokens: once the prompt is laid out.
        text_ids, codes: what has been written and said.
    """

    omni: Omni
    options: Options
    clock: Clock
    check: Check
    voice: str
    voice_token: int
    prompt_tokens: int = 0
    text_ids: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def events(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[TextStep | int]:
        """Runs the turn: text steps and codec tokens as they come."""
        prompt = self._lay_out(messages)
        embeds = self._embed(prompt)
        positions, delta = self.omni.positions(prompt, prompt.input_ids)
        with self.clock.stage("thinker_prefill"):
            prefill = self.omni.thinker.prefill(embeds, positions, delta, self.check)
        text = self._written(prefill)

        def speak(first: int, row: Array, following: Iterator[Array]) -> Iterator[int]:
            return self._spoken(prompt, embeds, prefill, first, row, following)

        for event in interleave(text, speak if self.options.speech else None):
            if isinstance(event, TextStep):
                self.text_ids.append(event.token)
                self.clock.mark("first_text")
            else:
                self.codes.append(event)
                self.clock.mark("first_code")
            yield event

    def reply(self, audio: Array, mel: Array | None = None) -> Reply:
        """What came of it so far; f32[samples], f32[80, frames]."""
        options, clock = self.options, self.clock
        assert options.seed is not None
        if mel is None:
            mel = np.empty((self.omni.dims.dit.mel, 0), np.float32)
        return Reply(
            text=self.omni.tokenizer.decode(self.text_ids),
            text_ids=self.text_ids,
            codes=self.codes,
            audio=audio,
            sample_rate_hz=SAMPLE_RATE_HZ,
            mel=mel,
            prompt_tokens=self.prompt_tokens,
            voice=self.voice if options.speech else None,
            seed=options.seed,
            timings_ms=clock.timings_ms,
            latency_ms=clock.latency_ms,
            steps=clock.steps,
            spans=clock.spans,
        )

    def _lay_out(self, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        omni, speech = self.omni, self.options.speech
        with self.clock.stage("preprocess"):
            prompt = build_prompt(
                parse_messages(messages),
                omni.tokenizer,
                omni.dims.tokens,
                omni.facts,
                use_audio_in_video=self.options.use_audio_in_video,
                chat_template=omni.chat_template,
            )
        self.prompt_tokens = prompt.input_ids.size
        _require_room(self.prompt_tokens, omni.context_limit, speech)
        with self.clock.stage("load"):
            omni.load(
                hearing=bool(prompt.audios),
                sight=bool(prompt.images or prompt.videos),
                speech=speech,
            )
        return prompt

    def _embed(self, prompt: Prompt) -> Array:
        """Encodes the media and merges them: f32[prompt, hidden]."""
        omni = self.omni
        tokens = omni.dims.tokens
        features: dict[int, Array] = {}
        if prompt.audios:
            with self.clock.stage("audio_encoder"):
                features[tokens.audio] = omni.ears.encode(prompt.audios, self.check)
        if prompt.images or prompt.videos:
            with self.clock.stage("vision_encoder"):
                for token, media in ((tokens.image, prompt.images), (tokens.video, prompt.videos)):
                    if media:
                        parts = [omni.eyes.encode(m.patches, m.grid, self.check) for m in media]
                        features[token] = np.concatenate(parts)
        return omni.thinker.merge(prompt.input_ids, features)

    def _written(self, prefill: ThinkerPrefill) -> Iterator[TextStep]:
        """The Thinker's steps."""
        sampler = Sampler(Sampling(), self.omni.dims.thinker.vocab, (), np.random.default_rng(0))
        steps = self.omni.thinker.generate(prefill, sampler, self.options.max_text_tokens)
        return self.clock.timed("thinker_decode", prefill.context, steps)

    def _spoken(
        self,
        prompt: Prompt,
        embeds: Array,
        prefill: ThinkerPrefill,
        first: int,
        row: Array,
        following: Iterator[Array],
    ) -> Iterator[int]:
        """The Talker's codec tokens."""
        talker = self.omni.talker
        ids = np.append(prompt.input_ids, [self.voice_token, first])
        positions, delta = self.omni.positions(prompt, ids)
        with self.clock.stage("talker_prefill"):
            rows = talker.prompt_rows(
                embeds, prefill.hidden, prompt.input_ids, self.voice_token, row
            )
            context, logits = talker.prefill(rows, positions, self.check)
        sampling = self.options.sampling
        suppress = (*sampling.suppress, self.omni.dims.codec.bos)
        sampler = talker.sampler(
            replace(sampling, suppress=suppress),
            len(prompt.input_ids),
            np.random.default_rng(self.options.seed),
        )
        steps = talker.generate(
            context, logits, chain(following, talker.end_marks()), delta, sampler,
            self.options.max_codes,
        )  # fmt: skip
        return self.clock.timed("talker_decode", context, steps)


def _require_room(prompt: int, limit: int, speech: bool) -> None:
    """Before any work: the prompt and at least one step fit the caches."""
    needed = prompt + 3 if speech else prompt + 1  # the Talker reads two rows more
    if needed > limit:
        raise OmnijetError(
            "the prompt does not fit the KV cache",
            where="messages",
            expected=f"at most {limit - needed + prompt} tokens of prompt in a context of {limit}",
            got=f"{prompt} tokens",
            fix="shorten the conversation, or use smaller pictures and shorter clips",
        )
