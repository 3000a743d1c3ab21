"""Detached signatures of a manifest, which holds the hashes of all other files of its bundle.

They are those of minisign. The package `py-minisign` verifies them, and is needed for nothing else.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from omnijet.runtime.bundle.manifest import FILE_NAME, manifest_content
from omnijet.runtime.bundle.manifest_rules import SIGNATURE
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import read_bounded
from omnijet.runtime.files.names import shell_quoted

MOST_BYTES = 64 << 10  # of a key or a signature, which have a few hundred
KEY_LENGTH = 56  # characters of a public key, as minisign prints it


def require_signature(folder: Path, key: str) -> bytes:
    """Verifies that the owner of a key signed the manifest.

    Args:
        folder: The bundle.
        key: A public key as minisign prints it, or the name of its file.

    Returns:
        The manifest that was signed.

    Raises:
        OmnijetError: there is no such key, no signature, one of another key, or the manifest is
            not the one that was signed.
    """
    minisign = _library()
    public = _public_key(minisign, key)
    content = manifest_content(folder)
    path = folder / SIGNATURE
    try:
        signature = minisign.Signature.from_bytes(read_bounded(path, MOST_BYTES))
    except FileNotFoundError:
        raise OmnijetError(
            "the bundle is not signed",
            where=path,
            expected="the signature of its manifest",
            got="no such file",
            fix="ask whoever made the bundle for it; its owner makes it with "
            f"`minisign -Sm {shell_quoted(folder / FILE_NAME)}`",
        ) from None
    except (OSError, ValueError) as error:
        raise OmnijetError(
            "the signature cannot be read", where=path, got=error, fix="copy the bundle again"
        ) from error
    try:
        public.verify(content, signature)
    except ValueError as error:  # of the library: minisign.VerifyError
        raise OmnijetError(
            "the manifest is not what the owner of this key signed",
            where=path,
            expected="the key that signed it, and the manifest as it was then",
            got=error,
            fix="do not use the bundle before you know why: it was changed, signed by someone "
            "else, or got engines after it was signed",
        ) from error
    return content


def _library() -> ModuleType:
    fix = 'pip install "omnijet[sign]"'
    try:
        import minisign
    except ImportError as error:
        raise OmnijetError(
            "signatures need a package that is not installed",
            where="--require-signature",
            expected="the extra [sign]",
            got=error,
            fix=fix,
        ) from error
    if not hasattr(minisign, "KeyPair"):
        raise OmnijetError(
            "signatures need another package of this name",
            where="--require-signature",
            expected="minisign of py-minisign",
            got=f"minisign of {getattr(minisign, '__file__', None)}",
            fix=f"pip uninstall minisign; {fix}",
        )
    found: ModuleType = minisign
    return found


def _public_key(minisign: ModuleType, key: str) -> Any:
    """Reads a public key, or its file."""
    try:
        if len(key) == KEY_LENGTH and key.startswith("RW") and not Path(key).exists():
            return minisign.PublicKey.from_base64(key)
        return minisign.PublicKey.from_bytes(read_bounded(Path(key), MOST_BYTES))
    except (OSError, ValueError) as error:
        raise OmnijetError(
            "this is no public key of minisign",
            where="--require-signature",
            expected=f"a file such as minisign.pub, or its second line ({KEY_LENGTH} characters)",
            got=f"{key[:100]}: {getattr(error, 'strerror', None) or error}",
            fix="make a pair with `minisign -G`, or ask the owner of the bundle for the key",
        ) from error
