"""Reads small files of a device in one call."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from omnijet.deployment.deploy.remote.ssh import Ssh

MOST_BYTES = 32 << 20  # of a file; a larger one is left out
SCRIPT = """{{
cd {folder} 2> /dev/null || exit 0
for file in {files}; do
  if [ -f "$file" ] && [ "$(wc -c < "$file")" -le {most} ]; then
    printf '%s %s %s\\n' {mark} "$(wc -c < "$file" | tr -d ' ')" "$file"
    cat "$file"
  fi
done
}}
"""


def fetch(ssh: Ssh, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Returns the content of those files in a folder there that exist.

    Args:
        names: relative to the folder; what the device names besides is ignored.

    Raises:
        OmnijetError: the device cannot be reached.
    """
    script = SCRIPT.format(
        folder=shlex.quote(folder), files=" ".join(map(shlex.quote, names)), most=MOST_BYTES,
        mark=ssh.mark,
    )  # fmt: skip
    answer = ssh.ask(script).out
    found: dict[str, bytes] = {}
    mark = f"{ssh.mark} ".encode()
    place = answer.find(mark)
    while place >= 0:
        line_end = answer.find(b"\n", place)
        if line_end < 0:
            break
        line = answer[place + len(mark) : line_end].decode("utf-8", "replace")
        size, _, name = line.partition(" ")
        if not size.isdigit() or len(size) > 10:
            break
        begins = line_end + 1
        ends = begins + int(size)
        if name in names and ends <= len(answer):
            found[name] = answer[begins:ends]
        place = answer.find(mark, ends)
    return found
