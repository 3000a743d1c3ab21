"""Runs scripts on a device over ssh, and says in plain words why that is impossible.

A script goes to `sh -s` through stdin: the login shell there, whatever it is, reads these two
words alone. What the device answers is foreign text: a line counts if it begins with a mark that
was drawn for this connection, and is shown without control characters.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from omnijet.deployment.deploy.remote.host import OPTIONS, Host
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.files.printable import one_line
from omnijet.runtime.leftovers import leftover

REMOTE = ("sh", "-s")
FAILED = 255  # ssh itself, not what it ran
MOST_ANSWER = 96 << 20
TIMEOUT_S = 120
LAST_LINES = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script wrote, and its exit code."""

    code: int
    out: bytes
    said: str


@dataclass(frozen=True, slots=True)
class Ssh:
    """A way to a device.

    Attributes:
        words: ssh and options of the user's.
        mark: begins the lines of our scripts' answers.
    """

    host: Host
    words: tuple[str, ...] = ("ssh",)
    mark: str = field(default_factory=lambda: f"omnijet-{secrets.token_hex(8)}")

    def command(self, *remote: str) -> list[str]:
        """Returns the command line that runs these words there; they need no quotes."""
        return [*self.client(), "--", self.host.text, *remote]

    def client(self) -> list[str]:
        """Returns ssh with all options, without a host: what rsync is given."""
        return [self.found(), *self.words[1:], *OPTIONS]

    def found(self) -> str:
        """Returns the path of ssh. Raises `OmnijetError` if this machine has none."""
        path = shutil.which(self.words[0])
        if path is None or not os.path.isabs(path):  # a program of the current folder is none
            raise OmnijetError(
                "there is no ssh on this machine",
                where=f"--ssh {shlex.join(self.words)}",
                expected="OpenSSH's client",
                got="no such program on PATH",
                fix="sudo apt install openssh-client, or copy the folder of the deployment to the "
                "device and type there: omnijet deploy --resume FOLDER",
            )
        return path

    def open(self, errors: IO[bytes] | int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Starts a shell there that reads a script from its stdin.

        Args:
            errors: where its stderr goes.
        """
        return subprocess.Popen(
            self.command(*REMOTE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True,
        )  # fmt: skip

    def ask(self, script: str, timeout_s: float = TIMEOUT_S) -> Answer:
        """Runs a script to its end.

        Raises:
            OmnijetError: the device cannot be reached, or does not answer.
        """
        process = self.open()
        with leftover(process.kill):
            try:
                out, said = process.communicate(script.encode(), timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise self.silent(timeout_s) from None
            finally:
                process.kill()
                process.wait()
        text = said.decode("utf-8", "replace")
        if process.returncode == FAILED:
            raise self.fault(text)
        return Answer(process.returncode, out[:MOST_ANSWER], text)

    def facts(self, script: str) -> dict[str, str]:
        """Returns what a script answers in lines of MARK NAME VALUE.

        Raises:
            OmnijetError: the device cannot be reached, or its shell answers nothing of this kind.
        """
        answer = self.ask(script)
        found = {}
        for line in answer.out.decode("utf-8", "replace").splitlines():
            mark, _, rest = line.partition(" ")
            if mark == self.mark:
                name, _, value = rest.partition(" ")
                found[name] = value
        if not found:
            raise OmnijetError(
                "the shell of the device does not run our script",
                where=self.host.text,
                expected="a POSIX shell: sh -s",
                got=tail(answer.said) or f"exit code {answer.code}, and nothing said",
                fix=f"try it: {self.typed()} sh -c true",
            )
        return found

    def typed(self) -> str:
        """Returns how a user types this way to the device."""
        return f"{' '.join(map(shell_quoted, self.words))} {shell_quoted(self.host.text)}"

    def silent(self, timeout_s: float) -> OmnijetError:
        return OmnijetError(
            "the device does not answer",
            where=self.host.text,
            got=f"nothing for {timeout_s:.0f} s",
            fix="give the same command line again: what is finished stays",
        )

    def fault(self, said: str) -> OmnijetError:
        """Returns the error for what ssh said when it could not do its work."""
        for phrases, what, fix in _FAULTS:
            if any(phrase in said for phrase in phrases):
                return OmnijetError(
                    what, where=self.host.text, got=tail(said), fix=fix.format(ssh=self.typed())
                )
        return OmnijetError(
            "the connection to the device was lost",
            where=self.host.text,
            got=tail(said) or "ssh ended without a word",
            fix="give the same command line again: what is finished stays, here and there",
        )


_FAULTS: Sequence[tuple[tuple[str, ...], str, str]] = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key for"),
        "the device has another key than the last time",
        "if the device was set up anew, forget its old key (ssh-keygen -R HOST), and connect once "
        "by hand: {ssh}",
    ),
    (
        ("Host key verification failed", "host key is known for"),
        "the key of the device is not known on this machine",
        "connect once by hand and compare the key: {ssh}",
    ),
    (
        ("Permission denied", "Too many authentication failures"),
        "the device does not let this user in",
        "set up a key: ssh-copy-id USER@HOST; then this must ask for no password: {ssh}",
    ),
    (
        ("Could not resolve hostname",),
        "there is no device of this name",
        "check the name, or give its address; {ssh} must work by hand",
    ),
    (
        ("Connection refused", "Connection timed out", "No route to host", "Network is unreachable",
         "Operation timed out"),
        "the device cannot be reached",
        "switch it on, and check that its ssh server runs: {ssh}",
    ),
    (
        ("Bad configuration option", "unknown option", "usage: ssh", "Bad port"),
        "ssh does not understand its options",
        "check --ssh, and ~/.ssh/config; {ssh} must work by hand",
    ),
)  # fmt: skip


def tail(text: str) -> str:
    """Returns the last lines of a foreign text, harmless for a terminal."""
    lines = [one_line(line)[:300] for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that nobody waits for any more."""
    with suppress(OSError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
