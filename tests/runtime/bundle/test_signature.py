"""Signatures by a real pair of keys, and all that can be wrong with them."""

from __future__ import annotations

import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from omnijet import cli
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest
from omnijet.runtime.bundle.manifest_rules import SIGNATURE
from omnijet.runtime.bundle.signature import require_signature
from omnijet.runtime.errors import OmnijetError
from tests.runtime.bundle.test_folder import damage, toy

minisign = pytest.importorskip("minisign", reason="the extra [sign] is not installed")


@pytest.fixture
def pair() -> Any:
    return minisign.KeyPair.generate()


@pytest.fixture
def folder(tmp_path: Path, pair: Any) -> Path:
    return sign(toy(tmp_path / "bundle", speech=False), pair)


def sign(folder: Path, pair: Any) -> Path:
    signature = pair.secret_key.sign((folder / FILE_NAME).read_bytes())
    (folder / SIGNATURE).write_bytes(bytes(signature) + b"\n")
    return folder


def key_of(pair: Any) -> str:
    text: bytes = pair.public_key.to_base64()
    return text.decode()


def refusal(folder: Path, key: str) -> OmnijetError:
    with pytest.raises(OmnijetError) as caught:
        require_signature(folder, key)
    assert caught.value.where and caught.value.got and caught.value.fix
    return caught.value


def test_a_key_and_its_file(folder: Path, pair: Any, tmp_path: Path) -> None:
    file = tmp_path / "minisign.pub"
    file.write_bytes(bytes(pair.public_key) + b"\n")
    for key in (key_of(pair), str(file)):
        content = require_signature(folder, key)
        assert Manifest.parsed(content, folder) == Bundle.open(folder).manifest


def test_check_wants_the_signature_and_every_file(
    nano: tuple[Path, Path], pair: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "copy"
    shutil.copytree(nano[1], bundle, copy_function=os.link)
    content = (bundle / FILE_NAME).read_bytes()
    assert cli.main(["check", str(bundle), "--require-signature", key_of(pair)]) == 2
    assert "the bundle is not signed" in capsys.readouterr().err
    sign(bundle, pair)
    assert cli.main(["check", str(bundle), "--require-signature", key_of(pair)]) == 0
    assert "signed: the manifest is what" in capsys.readouterr().out
    assert cli.main(["check", str(bundle)]) == 0  # the signature is no unlisted file
    template = bundle / "chat_template.jinja"
    text = bytearray(template.read_bytes())
    template.unlink()
    text[0] ^= 1
    template.write_bytes(text)
    assert cli.main(["check", str(bundle), "--require-signature", key_of(pair)]) == 2
    assert "FAILED chat_template.jinja: sha256" in capsys.readouterr().out
    assert (bundle / FILE_NAME).read_bytes() == content


def test_another_key(folder: Path) -> None:
    other = key_of(minisign.KeyPair.generate())
    assert "not what the owner of this key signed" in refusal(folder, other).what


def test_a_signature_of_another_text(folder: Path, pair: Any) -> None:
    damage(folder, "name", "other")  # by somebody who makes the hash right
    assert "not what the owner of this key signed" in refusal(folder, key_of(pair)).what


@pytest.mark.parametrize("place", [30, 90, 160, 200, 270])
def test_a_changed_signature(folder: Path, pair: Any, place: int) -> None:
    path = folder / SIGNATURE
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    if place == 30:  # a comment that says of itself that it is not signed
        require_signature(folder, key_of(pair))
    else:
        assert "sign" in refusal(folder, key_of(pair)).what


def test_no_signature(folder: Path, pair: Any) -> None:
    (folder / SIGNATURE).unlink()
    error = refusal(folder, key_of(pair))
    assert error.what == "the bundle is not signed" and "minisign -Sm" in (error.fix or "")


@pytest.mark.parametrize("content", [b"", b"\xff\n\xff\n\xff\n\xff", b"x" * (1 << 17)])
def test_what_is_no_signature(folder: Path, pair: Any, content: bytes) -> None:
    (folder / SIGNATURE).write_bytes(content)
    assert "signature cannot be read" in refusal(folder, key_of(pair)).what


@pytest.mark.parametrize("key", ["", "RW", "x" * 56, "RW" + "!" * 54, "/", "/dev/zero", "a\0b"])
def test_what_is_no_key(folder: Path, key: str) -> None:
    assert "no public key" in refusal(folder, key).what


def test_the_secret_key_is_no_public_one(folder: Path, pair: Any, tmp_path: Path) -> None:
    (tmp_path / "minisign.key").write_bytes(bytes(pair.secret_key) + b"\n")
    assert "no public key" in refusal(folder, str(tmp_path / "minisign.key")).what


def test_engines_that_came_later_are_not_signed(folder: Path, pair: Any) -> None:
    Bundle.open(folder).manifest.write(folder)  # the same text
    require_signature(folder, key_of(pair))
    data = Manifest.read(folder)
    Manifest(**{**{k: getattr(data, k) for k in data.__slots__}, "name": "later"}).write(folder)
    assert "got engines after it was signed" in (refusal(folder, key_of(pair)).fix or "")


def test_without_the_package(folder: Path, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minisign", None)
    assert 'pip install "omnijet[sign]"' in (refusal(folder, key_of(pair)).fix or "")
    monkeypatch.setitem(sys.modules, "minisign", types.ModuleType("minisign"))
    assert "another package of this name" in refusal(folder, key_of(pair)).what
