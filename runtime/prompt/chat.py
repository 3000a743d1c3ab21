"""The chat template writes a conversation out, with one placeholder per medium.

The environment is that of `apply_chat_template` of transformers 4.57.6, so a checkpoint's
own template renders to the same text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shorten
from omnijet.runtime.files.printable import printable
from omnijet.runtime.prompt.fuel import TooMuch
from omnijet.runtime.prompt.messages import PARTS, Message, Text
from omnijet.runtime.prompt.template import Template

SPEECH_SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of "
    "perceiving auditory and visual inputs, as well as generating text and speech."
)
"""The model speaks well only under this system prompt."""

DEFAULT_CHAT_TEMPLATE = """\
{% macro number(wanted, noun, count) %}{% if wanted %}{{ noun }} {{ count }}: {% endif %}\
{% endmacro %}
{% set seen = namespace(pictures=0, clips=0, sounds=0) %}
{% for message in messages %}
{% if loop.first and message.role != "system" %}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}
<|im_start|>{{ message.role }}
{% if message.content is string %}
{{ message.content }}\
{% else %}
{% for part in message.content %}
{% if part.type == "image" %}
{% set seen.pictures = seen.pictures + 1 %}
{{ number(add_vision_id, "Picture", seen.pictures) }}<|vision_bos|><|IMAGE|><|vision_eos|>\
{% elif part.type == "audio" %}
{% set seen.sounds = seen.sounds + 1 %}
{{ number(add_audio_id, "Audio", seen.sounds) }}<|audio_bos|><|AUDIO|><|audio_eos|>\
{% elif part.type == "video" %}
{% set seen.clips = seen.clips + 1 %}
{{ number(add_vision_id, "Video", seen.clips) }}<|vision_bos|><|VIDEO|><|vision_eos|>\
{% elif "text" in part %}
{{ part.text }}\
{% endif %}
{% endfor %}
{% endif %}
<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
"""Writes what the template published with Qwen2.5-Omni writes."""


AROUND = 100  # characters


def render_chat(messages: Sequence[Message], template: str) -> str:
    """Returns the prompt up to the point where the assistant's reply begins.

    Raises:
        OmnijetError: the template is faulty, or refuses the conversation.
    """
    plain = [_plain(message) for message in messages]
    try:
        return _compile(template).render(
            sum(map(_characters, plain)), messages=plain, add_generation_prompt=True
        )
    except Exception as error:  # a template can divide by zero, or call itself for ever
        kind = "" if isinstance(error, TooMuch) else f"{type(error).__name__}: "
        raise OmnijetError(
            "the chat template cannot be rendered",
            where="chat_template.jinja",
            got=printable(shorten(f"{kind}{error}")),
            fix="check the order of roles, or use the template published with the checkpoint",
        ) from error


def _characters(message: dict[str, Any]) -> int:
    """Returns the characters of a message, and some for what is written around each part."""
    content = message["content"]
    parts = [content] if isinstance(content, str) else content
    return sum(AROUND + len(str(part)) for part in parts)


def _plain(message: Message) -> dict[str, Any]:
    """Returns a message as templates read it; a medium is only its kind."""
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    kinds = {kind: name for name, kind in PARTS.items()}
    parts = []
    for part in message.content:
        name = kinds[type(part)]
        parts.append({"type": name, name: part.text if isinstance(part, Text) else name})
    return {"role": message.role, "content": parts}


@lru_cache(maxsize=4)
def _compile(source: str) -> Template:
    functions = {"raise_exception": _refuse, "strftime_now": _now}
    return Template(source, {"tojson": _to_json}, functions)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)
