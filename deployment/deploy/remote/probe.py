"""What a device is like before anything is sent to it."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass
from importlib.metadata import version

from omnijet.deployment.deploy.remote.ssh import Ssh
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line

NOT_FOUND, NOT_RUNNABLE = 127, 126
SCRIPT = """{{
say() {{ printf '%s %s %s\\n' {mark} "$1" "$2"; }}
case {folder} in /*) folder={folder} ;; *) folder=$PWD/{folder} ;; esac
say folder "$folder"
there=$folder
while [ ! -d "$there" ] && [ "$there" != / ]; do there=$(dirname "$there"); done
say free "$(df -Pk "$there" | awk 'NR == 2 {{ print $4 }}')"
if command -v rsync > /dev/null 2>&1; then say rsync yes; else say rsync no; fi
answer=$( ({command} --version) 2>&1 < /dev/null)
say code "$?"
say answer "$(printf '%s' "$answer" | tail -n 1)"
say writable "$(if [ -w "$there" ]; then echo yes; else echo no; fi)"
}}
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """Facts of a device.

    Attributes:
        folder: the folder of the deployment there, absolute.
        free_bytes: on its disk.
    """

    folder: str
    free_bytes: int
    has_rsync: bool


def probe(ssh: Ssh, folder: str, command: str) -> Probe:
    """Asks a device what it has.

    Raises:
        OmnijetError: it cannot be reached, has no omnijet or another version, or its folder cannot
            be written.
    """
    script = SCRIPT.format(mark=ssh.mark, folder=shlex.quote(folder), command=command)
    facts = ssh.facts(script)
    _require_omnijet(ssh, command, facts)
    place = facts.get("folder", "")
    if not posixpath.isabs(place) or facts.get("writable") != "yes":
        raise OmnijetError(
            "the folder of the deployment cannot be written on the device",
            where=f"{ssh.host.text}: {one_line(place or folder)}",
            fix="choose another with --remote-folder",
        )
    free = facts.get("free", "")
    return Probe(
        place, int(free) * 1024 if free.isdigit() and len(free) < 16 else 0,
        facts.get("rsync") == "yes",
    )  # fmt: skip


def _require_omnijet(ssh: Ssh, command: str, facts: dict[str, str]) -> None:
    ours = version("omnijet")
    code, answer = facts.get("code", ""), one_line(facts.get("answer", ""))[:200]
    if code in (str(NOT_FOUND), str(NOT_RUNNABLE)) or not answer.startswith("omnijet "):
        raise OmnijetError(
            "there is no omnijet on the device, or its shell does not find it",
            where=ssh.host.text,
            expected=f"`{command} --version` to answer omnijet {ours}",
            got=answer or f"exit code {code}",
            fix="name it, such as --remote-command '~/omnijet-venv/bin/omnijet': a shell of ssh "
            "reads no profile; or install it there: pip install "
            f'"omnijet[gpu,quantize]=={ours}"',
        )
    if answer != f"omnijet {ours}":
        raise OmnijetError(
            "the device has another version of omnijet",
            where=ssh.host.text,
            expected=f"omnijet {ours}, as here",
            got=answer,
            fix=f'install the same there: pip install "omnijet[gpu,quantize]=={ours}"',
        )
