"""The name of a device, and ssh on this machine: nothing of it is ever taken for an option."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from omnijet.runtime.errors import OmnijetError

DEFAULT_COMMAND = "omnijet"
_USER = r"[A-Za-z0-9_][A-Za-z0-9._+-]*\$?"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?\]?"
_HOST = re.compile(rf"(?:(?P<user>{_USER})@)?(?P<name>{_NAME})")
OPTIONS = (
    # a question would wait for ever behind a progress display: ssh says what is wrong instead
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=20",
    # a dead connection is noticed within 45 s
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR",
    # nothing of this machine is lent to the other
    "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes", "-T",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """A device as `ssh` names it: `jetson`, `user@jetson`, `user@10.0.0.5`, `user@fe80::1`."""

    text: str

    @staticmethod
    def parsed(text: str) -> Host:
        """Checks a name. Raises `OmnijetError` if ssh, rsync or a shell could misread it."""
        if _HOST.fullmatch(text) is None:
            raise OmnijetError(
                "this is no name of a device",
                where="--on",
                expected="USER@HOST or HOST, as ssh takes it; a port or a key goes into "
                "~/.ssh/config, or into --ssh 'ssh -p 2222'",
                got=repr(text[:80]),
            )
        return Host(text.replace("[", "").replace("]", ""))

    @property
    def for_rsync(self) -> str:
        """The name before the colon of `HOST:PATH`."""
        user, at, name = self.text.rpartition("@")
        return f"{user}{at}[{name}]" if ":" in name else self.text


def ssh_words(text: str) -> list[str]:
    """Returns the words of `--ssh`. Raises `OmnijetError` if a shell would not read them."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise OmnijetError(
            "the command for ssh cannot be read", where=f"--ssh {text!r}", got=error,
            fix="close its quotes",
        ) from error  # fmt: skip
    if not words:
        raise OmnijetError("there is no command for ssh", where="--ssh", expected="such as ssh")
    return words


def one_shell_line(text: str) -> str:
    """Checks `--remote-command`: one line of a shell. Raises `OmnijetError` if it is not."""
    if not text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise OmnijetError(
            "this is no command",
            where="--remote-command",
            expected="one line of a shell, such as ~/omnijet-venv/bin/omnijet",
            got=repr(text[:80]),
        )
    return text
