"""Answers questions with the omnijet of whatever interpreter runs this file.

It reads a job as JSON from stdin, {"bundle": folder, "questions": [...]}, and prints the answers
with what made them. `tools.check_arm64.questions` writes such jobs and compares the answers.
"""

from __future__ import annotations

import base64
import json
import platform
import sys
from typing import Any

import numpy as np
import onnxruntime

import omnijet


def main() -> None:
    job = json.load(sys.stdin)
    with omnijet.load(job["bundle"]) as omni:
        answers = {question["name"]: answer(omni, question) for question in job["questions"]}
        backend = omni.model.backend.name
    facts = {
        "machine": platform.machine(), "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__, "numpy": np.__version__, "backend": backend,
    }  # fmt: skip
    print(json.dumps({"made by": facts, "answers": answers}))


def answer(omni: omnijet.Omni, question: dict[str, Any]) -> dict[str, Any]:
    """Answers the last turn of a question; the turns before are answered in text alone."""
    messages: list[dict[str, Any]] = []
    *earlier, last = question["turns"]
    for turn in earlier:
        messages.append({"role": "user", "content": turn})
        text = omni.generate(messages, speech=False, seed=0).text
        messages.append({"role": "assistant", "content": text})
    messages.append({"role": "user", "content": last})
    options = question["options"]
    if question["streamed"]:
        with omni.stream(messages, **options) as stream:
            events = len(list(stream))
            reply = stream.reply
    else:
        events, reply = 0, omni.generate(messages, **options)
    return {
        "text": reply.text, "text_ids": reply.text_ids, "codes": reply.codes, "events": events,
        "pcm": base64.b64encode(omnijet.pcm16(reply.audio)).decode(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
