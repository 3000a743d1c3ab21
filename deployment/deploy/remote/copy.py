"""Sends a parcel to a device so that a cut loses nothing: with rsync, or file by file over ssh.

Files grow in a folder of their own there (`arriving`), which is no bundle. The device compares all
of them with their hashes before they take their place.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from omnijet.deployment.deploy.remote.parcel import Parcel
from omnijet.deployment.deploy.remote.ssh import Ssh, end, tail
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line
from omnijet.runtime.leftovers import leftover

Sent = Callable[[int, int], None]
"""Receives (bytes sent, bytes in all)."""
BLOCK = 1 << 20
STAMP = "of-"
"""Begins the name of an empty file in the folder there: which bundle is arriving."""
ALIVE_S = "60"
INCOMPATIBLE = 2
SMALL_BYTES = 1 << 16
PREPARE = """{{
if [ ! -f {folder}/{stamp} ]; then rm -rf {folder}; fi
mkdir -p {folder} && : > {folder}/{stamp}
}}
"""
LISTING = """{{
cd {folder} 2> /dev/null || exit 0
find . -type f | while IFS= read -r file; do
  printf '%s %s %s\\n' {mark} "$(wc -c < "$file" | tr -d ' ')" "$file"
done
}}
"""
APPEND = """{{
mkdir -p {folder} && printf '%s ready\\n' {mark} && exec cat {how} {file}
}}
"""


def rsync_path() -> str | None:
    """Returns where rsync is on this machine."""
    found = shutil.which("rsync")
    return found if found is not None and os.path.isabs(found) else None


def send(
    ssh: Ssh, parcel: Parcel, folder: str, scratch: Path, sent: Sent, *, with_rsync: bool
) -> None:
    """Sends all files into a folder there; what is there already is not sent again.

    Raises:
        OmnijetError: the connection is lost, or the disk there is full.
    """
    # what is there of another bundle must not be continued with this one
    script = PREPARE.format(folder=shlex.quote(folder), stamp=f"{STAMP}{parcel.bundle}")
    answer = ssh.ask(script)
    if answer.code:
        raise _fault(ssh, answer.code, answer.said, folder)
    rsync = rsync_path() if with_rsync else None
    if rsync is None or not _send_with_rsync(rsync, ssh, parcel, folder, scratch, sent):
        _send_files(ssh, parcel, folder, sent)


def _send_with_rsync(
    rsync: str, ssh: Ssh, parcel: Parcel, folder: str, scratch: Path, sent: Sent
) -> bool:
    """Sends with rsync; returns False where the two do not understand each other."""
    source = parcel.linked(scratch / "outgoing")
    command = [
        # in place: a file that was cut stays as far as it came, whoever was killed
        rsync, "-rtL", "--inplace", "--delete", f"--exclude=/{STAMP}*", "-s", "--no-motd",
        f"--timeout={ALIVE_S}",
        "--info=progress2", "--no-human-readable", "--outbuf=L",
        "-e", rsync_words(ssh.client()), "--", f"{source}/", f"{ssh.host.for_rsync}:{folder}/",
    ]  # fmt: skip
    total = parcel.bytes
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    with leftover(process.kill):
        try:
            assert process.stdout is not None and process.stderr is not None
            for count in _progress(process.stdout):
                sent(min(count, total), total)
            said = process.stderr.read().decode("utf-8", "replace")
            process.wait()
        finally:
            end(process)
    shutil.rmtree(source, ignore_errors=True)
    if process.returncode == INCOMPATIBLE:  # of another make, or the login shell prints a greeting
        return False
    if process.returncode:
        raise _fault(ssh, process.returncode, said, folder)
    sent(total, total)
    return True


def rsync_words(words: list[str]) -> str:
    """Returns a command as rsync's -e takes it: in quotes, of which it knows no escape but two.

    Raises:
        OmnijetError: a word cannot be said there.
    """
    found = []
    for word in words:
        if re.fullmatch(r"[\w./=:@%+,~-]+", word):
            found.append(word)
        elif "'" not in word:
            found.append(f"'{word}'")
        elif '"' not in word:
            found.append(f'"{word}"')
        else:
            raise OmnijetError(
                "rsync cannot be given this option of ssh", where="--ssh", got=one_line(word),
                fix="put it into ~/.ssh/config",
            )  # fmt: skip
    return " ".join(found)


def _progress(pipe: IO[bytes]) -> Iterator[int]:
    """Yields the bytes that rsync has looked at or sent, as its lines say."""
    text = b""
    while piece := os.read(pipe.fileno(), 4096):
        text += piece
        *lines, text = re.split(rb"[\r\n]", text[-8192:])
        for line in lines:
            if found := re.match(rb"\s*([\d,]{1,20})\s+\d+%", line):
                yield int(found[1].replace(b",", b""))


def _send_files(ssh: Ssh, parcel: Parcel, folder: str, sent: Sent) -> None:
    """Sends what is missing of each file, in the order of the parcel."""
    there = _listing(ssh, folder)
    done, total = 0, parcel.bytes
    for name, path in parcel.files.items():
        size = path.stat().st_size
        start = there.get(name, 0)
        if start > size or size <= SMALL_BYTES:  # a journal of the same size may say other things
            start = 0
        if start < size or name not in there:
            _append(ssh, path, start, f"{folder}/{name}", _from(sent, done, total))
        done += size
        sent(done, total)


def _from(sent: Sent, before: int, total: int) -> Callable[[int], None]:
    """Returns what receives the bytes of one file."""
    return lambda count: sent(before + count, total)


def _listing(ssh: Ssh, folder: str) -> dict[str, int]:
    """Returns the sizes of the files below a folder there."""
    answer = ssh.ask(LISTING.format(folder=shlex.quote(folder), mark=ssh.mark))
    found = {}
    for line in answer.out.decode("utf-8", "surrogateescape").splitlines():
        mark, _, rest = line.partition(" ")
        size, _, name = rest.partition(" ")
        if mark == ssh.mark and size.isdigit() and len(size) < 16:
            found[name.removeprefix("./")] = int(size)
    return found


def _append(ssh: Ssh, path: Path, start: int, target: str, sent: Callable[[int], None]) -> None:
    """Writes a file there from a place on."""
    process = ssh.open()
    assert process.stdin and process.stdout and process.stderr
    with leftover(process.kill):
        try:
            script = APPEND.format(
                folder=shlex.quote(os.path.dirname(target)), mark=ssh.mark,
                how=">>" if start else ">", file=shlex.quote(target),
            )  # fmt: skip
            with suppress(BrokenPipeError):
                process.stdin.write(script.encode())
                process.stdin.flush()
            # a shell may read its script in blocks: the content must not be among them
            is_ready = _await_ready(process, ssh.mark)
            with suppress(BrokenPipeError):
                if is_ready:
                    _pour(path, start, process.stdin, sent)
                process.stdin.close()
            said = process.stderr.read().decode("utf-8", "replace")
            code = process.wait()
        finally:
            end(process)
    if code or not is_ready:
        raise _fault(ssh, code, said, target)


def _await_ready(process: subprocess.Popen[bytes], mark: str) -> bool:
    assert process.stdout is not None
    while line := process.stdout.readline(1 << 16):
        if line.decode("utf-8", "replace").rstrip() == f"{mark} ready":
            return True
    return False


def _pour(path: Path, start: int, pipe: IO[bytes], sent: Callable[[int], None]) -> None:
    done, told = start, time.monotonic()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(BLOCK):
            pipe.write(block)
            done += len(block)
            if time.monotonic() - told > 0.2:
                told = time.monotonic()
                sent(done)


def _fault(ssh: Ssh, code: int, said: str, folder: str) -> OmnijetError:
    if "No space left" in said or "Disk quota" in said:
        return OmnijetError(
            "the disk of the device is full",
            where=f"{ssh.host.text}: {folder}",
            got=tail(said),
            fix="free space there, or choose another disk with --remote-folder; then the same "
            "command line sends what is missing",
        )
    if code in (255, 12, 10, 30, 35, 20) or code < 0:  # ssh; rsync's: protocol, socket, time
        return ssh.fault(said)
    return OmnijetError(
        "the bundle could not be copied to the device",
        where=f"{ssh.host.text}: {folder}",
        got=tail(said) or f"exit code {code}",
        fix="mend that, and give the same command line again: what has arrived stays",
    )
