"""The messages of a request, as the model's conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt.messages import parse_messages
from omnijet.runtime.prompt.plain import require_plain_message
from omnijet.runtime.prompt.tokenizer import Tokenizer
from omnijet.runtime.prompt.tool_text import assistant_text, calls_of, response_text
from omnijet.runtime.serve.chat.content import read_parts
from omnijet.runtime.serve.chat.media import MediaReader
from omnijet.runtime.serve.chat.spoken import SpokenReplies
from omnijet.runtime.serve.faults import told
from omnijet.runtime.serve.fields import Node

MOST_MESSAGES = 4096
ROLES = ("system", "developer", "user", "assistant", "tool")
_NAME = "names of speakers are not shown to the model"
_REFUSED = {
    "user": {"name": _NAME},
    "system": {"name": _NAME},
    "developer": {"name": _NAME},
    "tool": {"name": _NAME},
    "assistant": {
        "name": _NAME,
        "function_call": "replaced by tool_calls",
        "refusal": "the model has no refusals",
    },
}


@dataclass(slots=True)
class _Calls:
    """The calls of an assistant's message, and the results that came so far, by their ids."""

    node: Node
    results: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConversationReader:
    """Reads the messages of requests; faults are noted at their places."""

    media: MediaReader
    spoken: SpokenReplies
    tokenizer: Tokenizer

    def read(self, node: Node) -> list[dict[str, Any]]:
        """Returns the messages as `omnijet.runtime.prompt.messages` has them.

        Results of tools that follow each other become one message of the user, in the order of
        the calls: the model knows no ids.
        """
        read: list[dict[str, Any]] = []
        items, calls = list(node.items(1, MOST_MESSAGES)), None
        for item in items:
            if not item.is_object():
                continue
            role = item.at("role").choice(ROLES)
            if role == "tool":
                self._result(item, calls)
                continue
            read += _answered(calls)
            calls = None
            message = self._message(item, role) if role is not None else None
            if message is None:
                continue
            if role == "assistant":
                calls = self._called(item, message)
            self._require_plain(item, message)
            read.append(message)
        read += _answered(calls)
        if items and not node.faults and items[-1].value["role"] not in ("user", "tool"):
            items[-1].at("role").fault("the last message must be one of user or tool")
        return read

    def _message(self, node: Node, role: str) -> dict[str, Any] | None:
        if role == "assistant":
            return self._said(node)
        node.check_keys(("role", "content"), _REFUSED[role])
        content = self._content(node.at("content"), text_only=role != "user")
        if content is None:
            return None
        return {"role": "system" if role == "developer" else role, "content": content}

    def _content(self, node: Node, text_only: bool) -> Any:
        if isinstance(node.value, list):
            return read_parts(node, self.media, text_only)
        return node.text()

    def _said(self, node: Node) -> dict[str, Any] | None:
        """Reads what the assistant said before, but for its calls."""
        known = ("role", "content", "audio", "annotations", "tool_calls")
        node.check_keys(known, _REFUSED["assistant"])
        if node.at("annotations").value not in (None, []):
            node.at("annotations").fault("annotations are not supported", "unsupported_parameter")
        content, audio = node.at("content"), node.at("audio")
        if audio.is_given:
            if content.value not in (None, ""):
                content.fault("a reply was either written or spoken: give content or audio")
            transcript = self._transcript(audio) if audio.is_object() else None
            return None if transcript is None else {"role": "assistant", "content": transcript}
        if not content.is_given and node.at("tool_calls").is_given:
            return {"role": "assistant", "content": ""}
        said = self._content(content, text_only=True)
        return None if said is None else {"role": "assistant", "content": said}

    def _transcript(self, node: Node) -> str | None:
        """Reads `{"id": ...}`; a client may send the whole object that it was sent."""
        node.check_keys(("id", "transcript", "data", "expires_at"))
        id = node.at("id").text(200)
        if id is None:
            return None
        known = self.spoken.transcript(id)
        if known is None and node.at("transcript").is_given:
            known = node.at("transcript").text()
        elif known is None:
            node.at("id").fault("no spoken reply has this id any more: send its text as content")
        return known

    def _called(self, node: Node, message: dict[str, Any]) -> _Calls | None:
        """Writes the calls of an assistant's message into its text, and returns them."""
        given = node.at("tool_calls")
        if not given.is_given:
            return None
        try:
            calls = calls_of(given.value, given.path)
            message["content"] = assistant_text(_joined(message["content"]), calls)
        except OmnijetError as error:
            node.faults.add(str(error.where or given.path), told(error))
            return None
        found = _Calls(given)
        for call in given.items():
            id = call.at("id").text(200)
            if id is not None and id in found.results:
                call.at("id").fault("another call has this id")
            elif id is not None:
                found.results[id] = None
        return found

    def _result(self, node: Node, calls: _Calls | None) -> None:
        """Reads a tool's result."""
        node.check_keys(("role", "content", "tool_call_id"), _REFUSED["tool"])
        id, content = node.at("tool_call_id").text(200), self._content(node.at("content"), True)
        if id is None or content is None:
            return
        if calls is None or id not in calls.results:
            node.at("tool_call_id").fault("no call of the message before has this id")
            return
        if calls.results[id] is not None:
            node.at("tool_call_id").fault("this call has a result already")
            return
        message = {"role": "user", "content": _joined(content)}
        try:
            response_text([message["content"]])
        except OmnijetError as error:
            node.at("content").fault(told(error))
        self._require_plain(node, message)
        calls.results[id] = message["content"]

    def _require_plain(self, node: Node, message: dict[str, Any]) -> None:
        """Notes texts that would end their own message, and begin another."""
        where = node.at("content")
        try:
            (parsed,) = parse_messages([message])
            require_plain_message(parsed, where.path, self.tokenizer)
        except OmnijetError as error:
            where.fault(told(error), "invalid_text")


def _answered(calls: _Calls | None) -> list[dict[str, Any]]:
    """Returns the message with the results of all calls; notes calls without one."""
    if calls is None or calls.node.faults:
        return []
    results = [result for result in calls.results.values() if result is not None]
    if len(results) < len(calls.results):
        calls.node.fault("each call needs the result of its tool: a message of role tool")
    return [{"role": "user", "content": response_text(results)}] if results else []


def _joined(content: Any) -> str:
    """Returns text that stands in parts as one."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)
