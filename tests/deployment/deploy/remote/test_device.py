"""A deployment goes on at a device: what it tells is passed on, what it found is taken over."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest

from omnijet.deployment.deploy.events import Event
from omnijet.deployment.deploy.journal import FORMAT, Record
from omnijet.deployment.deploy.remote import device as module
from omnijet.deployment.deploy.remote.copy import rsync_path
from omnijet.deployment.deploy.remote.device import Device
from omnijet.deployment.deploy.work import Work
from omnijet.runtime.errors import OmnijetError
from tests.deployment.deploy.remote.devices import FakeDevice
from tests.deployment.deploy.works import Told, work

FOLDER = "it's a folder"


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A deployment whose bundle is sent as one small file."""
    at = work(tmp_path / "pc", host="me@jetson")
    (at.folder.bundle).mkdir()
    (at.folder.bundle / "weights").write_bytes(b"w" * 100_000)

    class Parcel(module.Parcel):
        @staticmethod
        def of(work: Work, *, with_bundle: bool) -> module.Parcel:
            files = {"bundle/weights": work.folder.bundle / "weights"} if with_bundle else {}
            return module.Parcel("0123", {**files, "deploy.json": work.folder.root / "deploy.json"})

    monkeypatch.setattr(module, "Parcel", Parcel)
    return at


def there(*says: str) -> str:
    """An omnijet that answers its version, and runs these lines when it is to go on."""
    lines = "\n".join(says)
    return f"""#!/bin/sh
if [ "$1" = --version ]; then echo 'omnijet {version("omnijet")}'; exit 0; fi
[ "$*" = "deploy --resume $FAKE_HOME/{FOLDER} --attended" ] || exit 9
{lines}
"""


def tells(event: Event) -> str:
    return f"cat <<'EVENT'\n{event.line()}\nEVENT"


def a_device() -> Device:
    return Device.of(
        Namespace(on="me@jetson", ssh="ssh", remote_folder=FOLDER, remote_command="omnijet"), "pc"
    )


def journal(**records: Record) -> str:
    steps = {name: asdict(one) for name, one in records.items()}
    return json.dumps({"format": FORMAT, "steps": steps})


def test_what_it_does_there(device: FakeDevice, deployed: Work) -> None:
    record = Record("key", "done", output="x", where="jetson", seconds=12.5)
    (device.home / "said.json").write_text(journal(build=record, quantize=record))
    device.omnijet(there(
        f"cp said.json '{FOLDER}/steps.json'".replace("it's", "it'\\''s"),
        'mkdir -p "$FAKE_HOME/' + FOLDER + '/profile"',
        'echo "{}" > "$FAKE_HOME/' + FOLDER + '/profile/profile.json"',
        "echo some chatter", "echo 'and a word' >&2",
        tells(Event("done", "quantize", "made before")), tells(Event("begun", "build")),
        tells(Event("progress", "build", "building", 1, 2)),
        tells(Event("done", "build", seconds=12.5)), tells(Event("ended")),
    ))  # fmt: skip
    told = Told()
    a_device().go_on(deployed, told)
    arrived = device.home / FOLDER / "arriving" / "bundle" / "weights"
    assert arrived.read_bytes() == (deployed.folder.bundle / "weights").read_bytes()
    assert told.states() == {"copy": "done", "build": "done"}
    assert Event("progress", "build", "building", 1, 2) in told
    assert deployed.journal.get("build") == record
    assert deployed.journal.get("quantize") is None  # the device has no say in what is made here
    assert (deployed.folder.profile / "profile.json").read_text() == "{}\n"
    assert set(device.hosts) <= {"me@jetson", "jetson"}  # rsync names the user apart


def test_a_fault_there_is_told_here(device: FakeDevice, deployed: Work) -> None:
    device.omnijet(there(
        tells(Event("failed", text="omnijet: no TensorRT\n  fix:      install it\x1b[2J")),
        tells(Event("ended", code=2)),
    ))  # fmt: skip
    with pytest.raises(OmnijetError, match="the device could not go on") as raised:
        a_device().go_on(deployed, Told())
    assert str(raised.value.got) == "no TensorRT\n  fix:      install it\\x1b[2J"


def test_another_machine_than_the_target(device: FakeDevice, deployed: Work) -> None:
    device.omnijet(there(tells(Event("waits", "build", "no GPU")), tells(Event("ended"))))
    with pytest.raises(OmnijetError, match="cannot do this step") as raised:
        a_device().go_on(deployed, Told())
    assert "no GPU" in str(raised.value) and "--target" in str(raised.value)


def test_what_does_not_run_there(device: FakeDevice, deployed: Work) -> None:
    device.omnijet(there("echo 'Illegal instruction' >&2", "exit 132"))
    with pytest.raises(OmnijetError, match="could not go on") as raised:
        a_device().go_on(deployed, Told())
    assert "Illegal instruction" in str(raised.value)


def test_a_connection_that_breaks_in_the_middle(device: FakeDevice, deployed: Work) -> None:
    device.omnijet(there(
        tells(Event("begun", "build")),
        # the session ends without a word, as ssh does when the network goes
        "touch .connection-breaks", "kill -9 $PPID", "sleep 1",
    ))  # fmt: skip
    told = Told()
    with pytest.raises(OmnijetError, match="connection to the device was lost") as raised:
        a_device().go_on(deployed, told)
    assert "the same command line again" in str(raised.value)
    assert told.states()["build"] == "begun"


def test_an_earlier_run_is_waited_for(
    device: FakeDevice, deployed: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    device.omnijet(there(
        "if [ ! -e once ]; then touch once",
        tells(Event("failed", text=f"omnijet: {module.BUSY}")), tells(Event("ended", code=2)),
        "exit 0; fi", tells(Event("done", "build")), tells(Event("ended")),
    ))  # fmt: skip
    told = Told()
    a_device().go_on(deployed, told)
    assert told.states()["build"] == "done"
    assert any("an earlier run" in one.text for one in told)


def test_the_words_of_a_lock_are_those_that_are_waited_for() -> None:
    from omnijet.runtime.files import lock

    assert f'"{module.BUSY}"' in Path(lock.__file__).read_text()


def test_a_disk_that_is_too_small(
    device: FakeDevice, deployed: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.omnijet(there("exit 9"))
    device.program("df", "#!/bin/sh\necho head; echo 'disk 100 90 10 90% /'\n")
    with pytest.raises(OmnijetError, match="too little free space"):
        a_device().go_on(deployed, Told())
    assert not (device.home / FOLDER).exists()


def test_rsync_is_taken_where_both_sides_have_it(device: FakeDevice) -> None:
    device.omnijet(there("exit 9"))
    assert a_device().require_ready().has_rsync == (shutil.which("rsync") is not None)
    assert (rsync_path() is None) == (shutil.which("rsync") is None)
