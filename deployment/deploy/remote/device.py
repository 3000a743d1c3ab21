"""A deployment goes on at a device: the bundle is sent, `omnijet deploy --resume` runs there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from omnijet.deployment.deploy import keys
from omnijet.deployment.deploy.attendance import BEAT_S
from omnijet.deployment.deploy.events import Event, Told
from omnijet.deployment.deploy.journal import FILE_NAME as STEPS_FILE
from omnijet.deployment.deploy.journal import parsed_records
from omnijet.deployment.deploy.remote.copy import send
from omnijet.deployment.deploy.remote.fetch import fetch
from omnijet.deployment.deploy.remote.host import Host, one_shell_line, ssh_words
from omnijet.deployment.deploy.remote.parcel import Parcel
from omnijet.deployment.deploy.remote.probe import Probe, probe
from omnijet.deployment.deploy.remote.ssh import FAILED, Ssh, end, tail
from omnijet.deployment.deploy.steps import STEPS
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.whole_file import write_whole
from omnijet.runtime.leftovers import leftover

HOME = "omnijet"
PROFILE_FILES = ("profile/profile.json", "profile/report.html", "profile/trace.json")
ON_DEVICE = tuple(step.name for step in STEPS if step.on_device)
BUSY = "another process is at work on this folder"
WAIT_S = 90.0
"""How long a run there that lost its connection may take to notice and to end."""
PAUSE_S = 5.0
MOST_LINE = MOST_SAID = 1 << 16
ARRIVED = """{{
size=$( (du -sk {place} 2> /dev/null || echo 0) | awk '{{ print $1; exit }}')
printf '%s kb %s\\n' {mark} "$size"
}}
"""
SCRIPT = """{{
{command} deploy --resume {folder} --attended
printf '%s code %s\\n' {mark} "$?"
exit 0
}}
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is reached over ssh.

    Attributes:
        folder: of the deployment there, absolute or from the user's home.
        command: omnijet, in the words of a shell there.
    """

    ssh: Ssh
    folder: str
    command: str

    @staticmethod
    def of(args: Namespace, name: str) -> Device:
        """Makes the device of a command line; `name` is that of the deployment's folder here.

        Raises:
            OmnijetError: an option could be misread by ssh, rsync or a shell.
        """
        ssh = Ssh(Host.parsed(args.on), tuple(ssh_words(args.ssh)))
        folder = args.remote_folder or f"{HOME}/{name}"
        if re.search(r"[\x00-\x1f\x7f]", folder) or folder.strip("/.") == "":
            raise OmnijetError(
                "this is no folder for a deployment",
                where="--remote-folder",
                expected="a path there, absolute or from the user's home",
                got=repr(folder[:80]),
            )
        folder = folder.removeprefix("~/").rstrip("/")
        return Device(ssh, folder, one_shell_line(args.remote_command))

    def require_ready(self) -> Probe:
        """Asks the device what it has. Raises `OmnijetError` if it cannot take the deployment."""
        return probe(self.ssh, self.folder, self.command)

    def go_on(self, work: Work, told: Told) -> None:
        """Sends the bundle, unless it is there, has the device build and measure, and takes over
        what it found.

        Raises:
            OmnijetError: a step fails there, or the connection is lost.
        """
        found = self.require_ready()
        self._send(work, found, told)
        began = time.monotonic()
        while True:
            failed = self._run(found.folder, told)
            if failed is None:
                break
            if BUSY not in failed or time.monotonic() - began > WAIT_S:
                raise OmnijetError(
                    "the device could not go on",
                    where=f"{self.ssh.host.text}: {found.folder}",
                    got=failed.removeprefix("omnijet: "),
                    fix="mend that, and give the same command line again",
                )
            told(Event("said", "", "an earlier run is at work there still: waiting for its end"))
            time.sleep(PAUSE_S)
        self._take_results(work, found.folder)

    def _send(self, work: Work, found: Probe, told: Told) -> None:
        manifest = work.made
        wanted = "" if manifest is None else keys.identity(manifest)
        is_there = bool(wanted) and self._bundle_there(work, found.folder) == wanted
        parcel = Parcel.of(work, with_bundle=not is_there)
        if is_there:
            told(Event("done", "copy", "the bundle is there already"))
        else:
            told(Event("begun", "copy", f"to {self.ssh.host.text}"))
            self._require_room(parcel, found)
        began = time.monotonic()

        def sent(done: int, total: int) -> None:
            told(Event("progress", "copy", "sending", done, total))

        arriving = f"{found.folder}/arriving"
        scratch = work.folder.scratch
        send(self.ssh, parcel, arriving, scratch, sent, with_rsync=found.has_rsync)
        if not is_there:
            told(Event("done", "copy", seconds=time.monotonic() - began))

    def _bundle_there(self, work: Work, folder: str) -> str:
        """Returns the identity of the bundle there, as its journal and its manifest say."""
        maker = "quantize" if work.order.is_quantized else "export"
        files = fetch(self.ssh, folder, (STEPS_FILE, "bundle/manifest.json"))
        if "bundle/manifest.json" not in files:
            return ""
        record = parsed_records(files.get(STEPS_FILE, b"").decode("utf-8", "replace")).get(maker)
        return record.output if record is not None and record.state == "done" else ""

    def _require_room(self, parcel: Parcel, found: Probe) -> None:
        arrived = self._arrived_bytes(found.folder)
        lacking = parcel.bytes - arrived - found.free_bytes
        if found.free_bytes and lacking > 0:
            raise OmnijetError(
                "the disk of the device has too little free space",
                where=f"{self.ssh.host.text}: {found.folder}",
                expected=f"{(parcel.bytes - arrived) / 1e9:.2f} GB free, and as much for engines",
                got=f"{found.free_bytes / 1e9:.2f} GB free",
                fix="free space there, or choose another disk with --remote-folder",
            )

    def _arrived_bytes(self, folder: str) -> int:
        place = shlex.quote(f"{folder}/arriving")
        script = ARRIVED.format(mark=self.ssh.mark, place=place)
        count = self.ssh.facts(script).get("kb", "0")
        return int(count) * 1024 if count.isdigit() and len(count) < 16 else 0

    def _run(self, folder: str, told: Told) -> str | None:
        """Runs the steps there; returns why that failed, in the words of the device, or None.

        Raises:
            OmnijetError: the connection is lost, or the device is not the target.
        """
        script = SCRIPT.format(command=self.command, folder=shlex.quote(folder), mark=self.ssh.mark)
        listening = _Listening(self, told)
        with tempfile.TemporaryFile() as errors:  # a pipe that nobody reads would fill up
            process = self.ssh.open(errors)
            with leftover(process.kill), _beating(process, script):
                try:
                    assert process.stdout is not None
                    while line := process.stdout.readline(MOST_LINE):
                        if listening.hear(line.decode("utf-8", "replace").rstrip("\n")):
                            break
                    code = process.wait()
                finally:
                    end(process)
            errors.seek(0)
            said = tail(errors.read(MOST_SAID).decode("utf-8", "replace"))
        if listening.waits:
            raise OmnijetError(
                "the device cannot do this step",
                where=self.ssh.host.text,
                got=listening.waits,
                fix="check --target: it must be this device, with its library installed",
            )
        if listening.failed is not None or listening.code in (0, 1):
            return listening.failed
        if code == FAILED or not said:
            raise self.ssh.fault(said)
        return said

    def _take_results(self, work: Work, folder: str) -> None:
        files = fetch(self.ssh, folder, (STEPS_FILE, *PROFILE_FILES))
        records = parsed_records(files.pop(STEPS_FILE, b"").decode("utf-8", "replace"))
        for step in ON_DEVICE:
            if step in records:
                work.journal.take(step, records[step])
        for name, content in files.items():
            path = work.folder.root / name
            path.parent.mkdir(exist_ok=True)
            write_whole(path, content, follow_link=False)


class _Listening:
    """What the device has told so far."""

    def __init__(self, device: Device, told: Told) -> None:
        self._mark, self._told = device.ssh.mark, told
        self.failed: str | None = None
        self.waits = ""
        self.code: int | None = None

    def hear(self, line: str) -> bool:
        """Passes an event on; returns whether it was the last line."""
        if line.startswith(f"{self._mark} code "):
            return True
        event = Event.parsed(line)
        if event is None:
            return False
        if event.kind == "failed":
            self.failed = event.text
        elif event.kind == "ended":
            self.code = event.code
        elif event.kind == "waits" and event.step == "build":
            self.waits = event.text
        elif event.step in (*ON_DEVICE, "copy"):
            self._told(event)
        return False


@contextmanager
def _beating(process: subprocess.Popen[bytes], script: str) -> Iterator[None]:
    """Sends the script, and then a line every few seconds: see `attended`."""
    stop = threading.Event()

    def beat() -> None:
        assert process.stdin is not None
        with suppress(OSError, ValueError):  # the other side, or this one, has ended
            process.stdin.write(script.encode())
            process.stdin.flush()
            while not stop.wait(BEAT_S):
                process.stdin.write(b"\n")
                process.stdin.flush()

    thread = threading.Thread(target=beat, name="omnijet-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=BEAT_S)
