"""Finds the float bundle that a quantized one was made from, and checks that it is unchanged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, hash_file
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)


def float_bundle(quantized: Bundle, given: Path | None) -> Bundle:
    """Returns the given float bundle, or else the one that the manifest names.

    Raises:
        OmnijetError: there is none, it has changed since, or it holds another model.
    """
    quantization = quantized.manifest.quantization
    found = _recorded(quantized) if given is None else Bundle.open(given)
    if given is not None and _is_other(found, quantization):
        _log.warning("%s is not the bundle that %s was made from", given, quantized.folder)
    faults = list(_differences("dims", quantized.manifest.dims, found.manifest.dims))
    if faults:
        raise OmnijetError(
            f"the bundles hold different models ({len(faults)} differences)",
            where=found.folder,
            expected=f"the dimensions of {quantized.folder}",
            got="\n            ".join(faults),
            fix="name the bundle it was made from with --float BUNDLE",
        )
    return found


def _recorded(quantized: Bundle) -> Bundle:
    quantization, path = quantized.manifest.quantization, quantized.folder / FILE_NAME
    source = quantization.get("source")
    if not isinstance(source, str):
        raise OmnijetError(
            "the bundle does not say which float bundle it was made from",
            where=path,
            expected="a quantized bundle",
            got="one that is not quantized" if not quantization else "no quantization.source",
            fix="name the bundle to compare with: --float BUNDLE",
        )
    if not (Path(source) / FILE_NAME).is_file():
        raise OmnijetError(
            "the float bundle that this one was made from is not there",
            where=path,
            expected=f"a bundle at {source}",
            got="no such folder" if not Path(source).exists() else f"no {FILE_NAME} in it",
            fix="say where it is now: --float BUNDLE",
        )
    found = Bundle.open(source)
    if _is_other(found, quantization):
        raise OmnijetError(
            "the float bundle has changed since this one was made from it",
            where=source,
            expected=f"{FILE_NAME} with sha256 {quantization.get('source_manifest_sha256')}",
            got=found.manifest.model_sha256(),
            fix="quantize again, or compare with what is there now: --float BUNDLE",
        )
    return found


def _is_other(found: Bundle, quantization: dict[str, Any]) -> bool:
    """Returns whether a bundle is not the one whose manifest is recorded.

    Bundles of older versions recorded the manifest as it lay there.
    """
    recorded = quantization.get("source_manifest_sha256")
    if recorded in (None, hash_file(found.folder / FILE_NAME).sha256):
        return False
    return bool(recorded != found.manifest.model_sha256())


def _differences(where: str, wanted: Any, got: Any) -> Iterator[str]:
    """Yields a line for each field in which two dataclasses differ."""
    if is_dataclass(wanted) and type(got) is type(wanted):
        for field in fields(wanted):
            ours, theirs = getattr(wanted, field.name), getattr(got, field.name)
            yield from _differences(f"{where}.{field.name}", ours, theirs)
    elif is_dataclass(wanted) or is_dataclass(got):  # only the parts that speak may be absent
        yield f"{where}: {_is_there(got)}, not {_is_there(wanted)}"
    elif wanted != got:
        yield f"{where}: {got}, not {wanted}"


def _is_there(part: Any) -> str:
    return "none" if part is None else "there"
