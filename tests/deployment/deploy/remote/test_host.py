"""The name of a device is a name and nothing else."""

from __future__ import annotations

import pytest

from omnijet.deployment.deploy.remote.copy import rsync_words
from omnijet.deployment.deploy.remote.host import Host, one_shell_line, ssh_words
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import printable


@pytest.mark.parametrize(
    ("text", "rsync"),
    [
        ("jetson", "jetson"),
        ("me@jetson.local", "me@jetson.local"),
        ("a.b-c_1@10.0.0.5", "a.b-c_1@10.0.0.5"),
        ("me@fe80::1%eth0", "me@[fe80::1%eth0]"),
        ("me@[::1]", "me@[::1]"),
    ],
)
def test_names(text: str, rsync: str) -> None:
    assert Host.parsed(text).for_rsync == rsync
    assert "[" not in Host.parsed(text).text


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=x", "me@-oProxyCommand=x", "-l@host", "a b", "a;b", "$(x)", "`x`", "a'b",
     'a"b', "a\nb", "a\x1bb", "me@", "@host", "a@b@c", "host:folder", "ssh://me@host", "a/b", "a*"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(OmnijetError, match="no name of a device") as raised:
        Host.parsed(text)
    assert printable(str(raised.value)) == str(raised.value)


def test_ssh_with_options() -> None:
    assert ssh_words("ssh -p 2222 -i 'a key'") == ["ssh", "-p", "2222", "-i", "a key"]
    for wrong in ("", "ssh 'a"):
        with pytest.raises(OmnijetError):
            ssh_words(wrong)


def test_rsync_reads_the_same_words() -> None:
    assert rsync_words(["ssh", "-i", "a key", "it's"]) == "ssh -i 'a key' \"it's\""
    with pytest.raises(OmnijetError, match=r"config"):
        rsync_words(["ssh", "a'b\"c"])


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\rb", "a\x1bb", "a\0b"])
def test_a_command_is_one_line(text: str) -> None:
    with pytest.raises(OmnijetError, match="no command"):
        one_shell_line(text)
