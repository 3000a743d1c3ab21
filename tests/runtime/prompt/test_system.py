"""The system prompt: the model's own where speech is made and nobody gave another."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import omnijet
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.omni import Omni
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.prompt.messages import Message, Text
from omnijet.runtime.prompt.system import is_for_speech, system_messages, with_system

HELLO = (Message("user", "Hello"),)
OWN = Message("system", SPEECH_SYSTEM_PROMPT)
ASKED = [{"role": "user", "content": "Hello"}]
LIMITS: dict[str, Any] = {"seed": 1, "greedy": True, "max_text_tokens": 3, "max_codes": 4}


def test_the_public_prompt_is_the_one_that_the_reference_asks_for() -> None:
    from transformers.models.qwen2_5_omni import processing_qwen2_5_omni

    assert omnijet.SPEECH_SYSTEM_PROMPT == SPEECH_SYSTEM_PROMPT
    source = Path(processing_qwen2_5_omni.__file__).read_text(encoding="utf-8")
    assert f'!= "{SPEECH_SYSTEM_PROMPT}"' in source


def test_only_what_has_none_gets_one() -> None:
    other = (Message("system", ""), *HELLO)
    late = (*HELLO, Message("system", "Be brief."))
    for messages in (other, late):
        for prompt in (SPEECH_SYSTEM_PROMPT, "Be kind.", None):
            assert with_system(messages, prompt, speaks=True) == messages
    assert with_system(HELLO, SPEECH_SYSTEM_PROMPT, speaks=True) == (OWN, *HELLO)
    assert with_system(HELLO, SPEECH_SYSTEM_PROMPT, speaks=False) == HELLO
    assert with_system(HELLO, None, speaks=True) == HELLO
    for speaks in (True, False):
        (first, _) = with_system(HELLO, "Be kind.", speaks=speaks)
        assert first == Message("system", "Be kind.")


def test_the_prompt_for_speech_in_any_form() -> None:
    half = len(SPEECH_SYSTEM_PROMPT) // 2
    parts = (Text(SPEECH_SYSTEM_PROMPT[:half]), Text(SPEECH_SYSTEM_PROMPT[half:]))
    assert is_for_speech([OWN, *HELLO]) and is_for_speech([Message("system", parts)])
    for other in ([], HELLO, [*HELLO, OWN], [Message("system", SPEECH_SYSTEM_PROMPT + " ")]):
        assert not is_for_speech(other)


@pytest.mark.parametrize("prompt", [3, b"Be kind.", ["Be kind."], "\udc80"])
def test_unusable_prompts(omni: Omni, prompt: Any) -> None:
    for ask in (
        lambda: system_messages(prompt),
        lambda: omni.generate(ASKED, system=prompt, **LIMITS),
        lambda: omni.stream(ASKED, system=prompt, **LIMITS),
        lambda: omni.session(system=prompt),
    ):
        with pytest.raises(OmnijetError):
            ask()


def test_speech_has_the_models_own_by_default(omni: Omni) -> None:
    given = omni.generate([{"role": "system", "content": SPEECH_SYSTEM_PROMPT}, *ASKED], **LIMITS)
    plain = omni.generate([{"role": "system", "content": "You are a helpful assistant."}, *ASKED],
                          **LIMITS)  # fmt: skip
    assert given.prompt_tokens > plain.prompt_tokens
    spoken, silent = omni.generate(ASKED, **LIMITS), omni.generate(ASKED, speech=False, **LIMITS)
    assert spoken.prompt_tokens == given.prompt_tokens
    # what the template writes where there is no system message
    assert silent.prompt_tokens == plain.prompt_tokens
    assert omni.generate(ASKED, system=None, **LIMITS).codes == plain.codes
    with omni.stream(ASKED, **LIMITS) as stream:
        assert list(stream)
    assert stream.reply.codes == given.codes
    assert omni.session().generate("Hello", **LIMITS).codes == given.codes
    assert omni.session(system=None).generate("Hello", **LIMITS).codes == plain.codes


def test_another_prompt_is_warned_of_once(
    nano: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with Omni.open(nano[1], backend=OrtBackend(threads=1)) as omni:
        omni.generate(ASKED, **LIMITS)
        omni.generate(ASKED, system="Be kind.", speech=False, **LIMITS)
        assert not caplog.messages
        for system in ("Be kind.", "", None):
            omni.generate(ASKED, system=system, **LIMITS)
        with omni.session(system="Be kind.") as session:
            session.generate("Hello", **LIMITS)
            assert list(session.stream("And?", **LIMITS))
    (said,) = caplog.messages
    assert "omnijet.SPEECH_SYSTEM_PROMPT" in said
