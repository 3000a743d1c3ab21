"""A bundle ready to answer: open it, ask it, hold a conversation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from omnijet.runtime.backends.choose import backend_for
from omnijet.runtime.backends.protocol import Backend
from omnijet.runtime.bundle.checked import require_as_checked
from omnijet.runtime.bundle.contract import Array
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.cancel import Cancellation
from omnijet.runtime.interrupt import interruptible
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import Message, parse_messages
from omnijet.runtime.prompt.system import with_system
from omnijet.runtime.speech.presets import speech_preset
from omnijet.runtime.talk.clock import Clock, StageReport
from omnijet.runtime.talk.model import Model
from omnijet.runtime.talk.options import Options
from omnijet.runtime.talk.reply import Reply
from omnijet.runtime.talk.session import Session
from omnijet.runtime.talk.stream import Stream
from omnijet.runtime.talk.turn import Overflow, Turn


class Omni:
    """A model that answers. Made by `omnijet.load`; close it, or use it in a `with` block.

    Threads: any thread may call any method, several at a time. `close` ends the streams of all of
    them. After a fork the child cannot use it, and is told so; closing it there does nothing.

    Attributes:
        model: graphs, tables and host arithmetic, for whoever looks inside.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @staticmethod
    def open(
        bundle: str | os.PathLike[str],
        *,
        backend: Backend | None = None,
        provider: str | None = None,
        engines: str | None = None,
        context_limit: int | None = None,
    ) -> Omni:
        """Opens a bundle. Graphs are loaded when a stage first needs them.

        Args:
            bundle: its folder.
            backend: an own backend; it replaces the choice by `provider` and `engines`.
            provider: a name in `omnijet.runtime.backends.choose.PROVIDERS`; "cpu" by default.
            engines: a target whose engines `omnijet build` put into the bundle.
            context_limit: rows of the KV caches; the model's own limit by default. Engines have
                caches of one length, which it never exceeds.

        Raises:
            OmnijetError: the folder is no bundle, is damaged, or changed since `omnijet check`
                passed on this machine; the backend cannot run here, or cannot compute in the
                bundle's precision.
        """
        opened = Bundle.open(os.fspath(bundle))
        require_as_checked(opened)
        if backend is None:
            backend = backend_for(opened, provider, engines)
        return Omni(Model(opened, backend, context_limit))

    @property
    def bundle(self) -> Bundle:
        """The bundle that was opened."""
        return self.model.bundle

    def close(self) -> None:
        """Ends every stream and thread and lets go of the graphs. Harmless if repeated."""
        self.model.close()

    def __enter__(self) -> Omni:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def generate(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        system: str | None = SPEECH_SYSTEM_PROMPT,
        report: StageReport | None = None,
        **options: Any,
    ) -> Reply:
        """Answers a conversation.

        Args:
            messages: the chat format of the HF processor; media in any turn.
            system: the system prompt of a conversation without one. The default, the model's own
                for speech, is left out if the reply is not spoken; None: what the template writes.
            report: called with progress.
            options: the attributes of `Options`.

        Raises:
            OmnijetError: unusable media, messages or options, an unknown voice, a prompt that
                does not fit the cache.
            KeyboardInterrupt: Ctrl-C, in the main thread; also in the middle of a long graph call.
        """
        with interruptible():
            turn = Turn.of(self.model, Options.of(**options), Clock(report))
            return turn.answer(_asked(messages, system, turn))

    def stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        system: str | None = SPEECH_SYSTEM_PROMPT,
        preset: str = "exact",
        **options: Any,
    ) -> Stream:
        """Answers a conversation piece by piece: iterate over `TextDelta` and `PcmChunk`.

        Text and codec tokens are those of `generate`. Arrays and pictures in memory are read
        while the stream runs: leave them as they are until its first event.

        Args:
            messages, system, options: as for `generate`.
            preset: a name in `omnijet.runtime.speech.presets.PRESETS`; it decides how near the
                sound comes to that of `generate`, and at what cost.

        Raises:
            OmnijetError: unusable messages, options or preset, an unknown voice. What is found
                later is raised where the stream is read.
        """
        made = speech_preset(preset)
        cancellation = Cancellation()
        turn = Turn.of(self.model, Options.of(**options), Clock(), check=cancellation.check)
        return Stream(turn, _asked(messages, system, turn), made, cancellation)

    def session(
        self, *, system: str | None = SPEECH_SYSTEM_PROMPT, overflow: Overflow = "error"
    ) -> Session:
        """Begins a conversation that is fed only what is new, see `Session`.

        Args:
            system: the system prompt; by default the model's own for speech, if the bundle has a
                voice. None: what the template writes.
            overflow: what happens when the conversation outgrows the KV cache: "error", or
                "drop oldest" questions and answers.
        """
        return Session(self.model, system, overflow)

    def load(self, *, hearing: bool = True, sight: bool = True, speech: bool | None = None) -> None:
        """Loads the graphs that a turn will need, so that the first turn does not wait.

        Args:
            hearing, sight: whether sounds, and pictures or clips, will be in the messages.
            speech: whether replies are spoken; by default they are if the bundle has a voice.

        Raises:
            OmnijetError: a graph cannot be loaded, or the bundle lacks the voice that is asked for.
        """
        self.model.load(hearing=hearing, sight=sight, speech=speech)

    def mel_of(self, codes: Sequence[int], *, voice: str | None = None, seed: int = 0) -> Array:
        """Turns codec tokens into log-mel f32[80, 2 * codes], as `generate` does."""
        self.model.require_open()
        name, _ = self.bundle.voice_id(voice)
        with interruptible():
            return self.model.mel_of(codes, name, seed, Clock())

    def wave_of(self, mel: Array) -> Array:
        """Turns log-mel f32[80, frames] into sound f32[240 * frames] at 24 kHz."""
        self.model.require_open()
        with interruptible():
            return self.model.wave_of(np.ascontiguousarray(mel, np.float32), Clock())


def _asked(
    messages: Sequence[Mapping[str, Any]], system: str | None, turn: Turn
) -> tuple[Message, ...]:
    return with_system(parse_messages(messages), system, speaks=bool(turn.options.speech))
