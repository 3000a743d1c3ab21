from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE, SPEECH_SYSTEM_PROMPT, render_chat
from omnijet.runtime.prompt.messages import parse_messages

PICTURE: dict[str, Any] = {"type": "image", "image": np.zeros((4, 4, 3), np.uint8)}
SOUND: dict[str, Any] = {"type": "audio", "audio": np.zeros(4, np.float32)}
CLIP: dict[str, Any] = {"type": "video", "video": np.zeros((2, 4, 4, 3), np.uint8)}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [PICTURE, words("What\n is <this>? & "), SOUND, CLIP, PICTURE]},
    {"role": "assistant", "content": "A cat.\n"},
    {"role": "user", "content": [words("  "), words("Sure?\n")]},
]


def test_published_form() -> None:
    text = render_chat(parse_messages(CONVERSATION), DEFAULT_CHAT_TEMPLATE)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_bos|><|IMAGE|><|vision_eos|>What\n is <this>? & "
        "<|audio_bos|><|AUDIO|><|audio_eos|><|vision_bos|><|VIDEO|><|vision_eos|>"
        "<|vision_bos|><|IMAGE|><|vision_eos|><|im_end|>\n"
        "<|im_start|>assistant\nA cat.\n<|im_end|>\n"
        "<|im_start|>user\n  Sure?\n<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_system_message_replaces_the_default() -> None:
    messages = [{"role": "system", "content": SPEECH_SYSTEM_PROMPT}]
    text = render_chat(parse_messages(messages), DEFAULT_CHAT_TEMPLATE)
    assert text == f"<|im_start|>system\n{SPEECH_SYSTEM_PROMPT}<|im_end|>\n<|im_start|>assistant\n"


TEMPLATE = """\
{% for m in messages %}
    {%- if not m.content is string %}{% for p in m['content'] %}
        {% if p.type == 'audio' %}{% continue %}{% endif %}
        [{{ p['type'] }}] {{ p | tojson }}
    {% endfor %}{% else %}
  {{ m.content | trim }} {{ loop.index0 }}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}>{% endif %}

"""


@pytest.mark.parametrize("template", [DEFAULT_CHAT_TEMPLATE, TEMPLATE])
def test_rendering_equals_transformers(template: str) -> None:
    plain = [
        {
            "role": message["role"],
            "content": message["content"]
            if isinstance(message["content"], str)
            else [
                {"type": part["type"], part["type"]: part.get("text", part["type"])}
                for part in message["content"]
            ],
        }
        for message in CONVERSATION
    ]
    (want,), _ = render_jinja_template([plain], chat_template=template, add_generation_prompt=True)
    assert render_chat(parse_messages(CONVERSATION), template) == want


def test_media_can_be_numbered() -> None:
    template = "{% set add_vision_id = true %}{% set add_audio_id = true %}" + DEFAULT_CHAT_TEMPLATE
    text = render_chat(parse_messages(CONVERSATION), template)
    for part in ("Picture 1: <|vision_bos|><|IMAGE|>", "Picture 2: <|vision_bos|><|IMAGE|>"):
        assert part in text
    assert "Audio 1: <|audio_bos|>" in text and "Video 1: <|vision_bos|><|VIDEO|>" in text


@pytest.mark.parametrize(
    "template", ["{% if %}", "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}"]
)
def test_faulty_templates(template: str) -> None:
    with pytest.raises(OmnijetError, match="cannot be rendered"):
        render_chat(parse_messages(CONVERSATION), template)
