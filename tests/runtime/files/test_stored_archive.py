from __future__ import annotations

import io
import stat
import tracemalloc
import zipfile

import pytest

from omnijet.runtime.files.bounded import BadFile
from omnijet.runtime.files.stored_archive import open_stored


def made(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def names(content: bytes) -> list[str]:
    with open_stored(io.BytesIO(content), 10) as archive:
        return archive.namelist()


GOOD = made({"a/b.txt": b"x" * 100, "c": b""})


def test_opens_an_archive_within_its_bounds() -> None:
    assert names(GOOD) == ["a/b.txt", "c"]


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a\\b", "C:/x", "a\nb", "x" * 300, "a\x1b[0m"]
)
def test_refuses_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(BadFile, match="outside"):
        names(made({name: b""}))


def test_refuses_links_and_names_that_are_there_twice() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BadFile, match="'link' leads outside"):
        names(file.getvalue())
    with pytest.raises(BadFile, match="twice"):
        names(made({"a": b"1", "b": b"2"}).replace(b"b", b"a"))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", GOOD[:-1], GOOD + b"x", GOOD + bytes(100), GOOD[: len(GOOD) // 2], bytes(1000)],
    ids=range(7),
)
def test_refuses_what_is_no_archive(content: bytes) -> None:
    with pytest.raises(BadFile, match="no zip file"):
        names(content)


def test_refuses_bombs_before_they_are_unpacked() -> None:
    bomb = made({"a": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    many = made({str(number): b"" for number in range(20_000)})
    tracemalloc.start()
    with pytest.raises(BadFile, match="compressed"):
        names(bomb)
    with pytest.raises(BadFile, match="list of members"):
        names(many)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_members_that_share_bytes_are_refused() -> None:
    one = made({"aaaa": b"x" * 900})
    directory = one.index(b"PK\x01\x02")
    entry = one[directory:-22]
    both = one[:directory] + entry + entry.replace(b"aaaa", b"bbbb")
    end = bytearray(one[-22:])
    end[8:12] = (2).to_bytes(2, "little") * 2
    end[12:16] = (2 * len(entry)).to_bytes(4, "little")
    with pytest.raises(BadFile, match="members of 1,800"):
        names(both + bytes(end))
