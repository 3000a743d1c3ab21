"""Reads the settings of a server: flags before environment, before file, before defaults."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.bounded import BadFile, read_bounded
from omnijet.runtime.serve.config import ServeConfig

PREFIX = "OMNIJET_"
MOST_KEY_BYTES = 4096
_KINDS = {
    "str": "text",
    "str | None": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple[str, ...]": "a list of texts",
}
_SWITCH = {"1": True, "true": True, "yes": True, "on": True,
           "0": False, "false": False, "no": False, "off": False}  # fmt: skip


class _Unfit(ValueError):
    """A value that a setting cannot have; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    name: str
    kind: str
    default: Any
    facts: Mapping[str, Any]

    @staticmethod
    def of(row: Field[Any]) -> Setting:
        """Reads a field of `ServeConfig`."""
        return Setting(row.name, str(row.type), row.default, row.metadata)

    @property
    def flag(self) -> str:
        """What it is called on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """What it is called in the environment."""
        return PREFIX + self.name.upper()

    @property
    def is_secret(self) -> bool:
        """Whether it is no flag, in no file and never printed."""
        return bool(self.facts.get("is_secret"))

    def of_text(self, text: str) -> Any:
        """Reads a value of a flag or variable. Raises `_Unfit`."""
        try:
            if self.kind == "int":
                return self.checked(int(text))
            if self.kind == "float":
                return self.checked(float(text))
        except _Unfit:
            raise
        except ValueError:
            raise _Unfit(_KINDS[self.kind]) from None
        if self.kind == "bool":
            if text.strip().casefold() not in _SWITCH:
                raise _Unfit(_KINDS["bool"])
            return _SWITCH[text.strip().casefold()]
        if self.kind == "tuple[str, ...]":
            return self.checked([part.strip() for part in text.split(",") if part.strip()])
        return self.checked(text)

    def checked(self, value: Any) -> Any:
        """Returns a value as `ServeConfig` has it. Raises `_Unfit`."""
        if self.kind == "tuple[str, ...]":
            if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
                raise _Unfit(_KINDS[self.kind])
            return tuple(value)
        wanted: dict[str, tuple[type, ...]] = {
            "int": (int,), "float": (int, float), "bool": (bool,)
        }  # fmt: skip
        allowed = wanted.get(self.kind, (str,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind != "bool"):
            raise _Unfit(_KINDS[self.kind])
        if self.kind in ("int", "float"):
            return self._in_range(cast(float, value))
        choices = self.facts.get("choices")
        if choices is not None and value not in choices:
            near = get_close_matches(value, list(choices), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _Unfit("one of " + ", ".join(choices) + hint)
        if isinstance(value, str) and not value.isprintable():
            raise _Unfit("text without control characters")
        return value

    def _in_range(self, value: float) -> float:
        least, most = self.facts.get("least", 0), self.facts.get("most", math.inf)
        if not (math.isfinite(value) and least <= value <= most):
            upper = "" if most == math.inf else f" to {most:g}"
            raise _Unfit(f"{_KINDS[self.kind]} from {least:g}{upper}")
        return float(value) if self.kind == "float" else value


SETTINGS: dict[str, Setting] = {row.name: Setting.of(row) for row in fields(ServeConfig)}


def add_settings(parser: ArgumentParser) -> None:
    """Adds a flag for each setting that may be one; what they say is read by `configured`."""
    for setting in SETTINGS.values():
        if setting.is_secret or setting.name == "bundle":
            continue
        shown = setting.default
        text = str(setting.facts["help"])
        if shown not in (None, "", (), False):
            text += f"; {shown} by default"
        if setting.kind == "bool":
            parser.add_argument(
                setting.flag, dest=setting.name, action="store_const", const="true", help=text
            )
            continue
        choices = setting.facts.get("choices")
        metavar = setting.facts.get("metavar") or (
            "{" + ",".join(choices) + "}" if choices else "N" if setting.kind == "int" else "X"
        )
        action = "append" if setting.kind == "tuple[str, ...]" else "store"
        parser.add_argument(
            setting.flag, dest=setting.name, action=action, metavar=metavar, help=text
        )


def configured(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Mapping[str, Any] | None = None,
    file_name: str = "",
) -> ServeConfig:
    """Merges all that was said.

    Args:
        flags: by setting; None: it was not given.
        environment: all variables; those of other programs are not looked at.
        file: what a TOML file says.
        file_name: of the file, for messages.

    Raises:
        OmnijetError: lists every unknown name and unusable value.
    """
    faults: list[str] = []
    said = dict(_of_file(file or {}, file_name, faults))
    said.update(_of_environment(environment, faults))
    said.update(_of_flags(flags, faults))
    config = ServeConfig(**said)
    faults += _contradictions(config)
    key = None if faults else _key(config, said, flags, environment, faults)
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise OmnijetError(
            f"the settings of the server cannot be used ({count})",
            got="\n            ".join(faults),
            fix="omnijet serve --help lists all; --print-config shows what holds",
        )
    return ServeConfig(**{**said, "api_key": key})


def _of_file(file: Mapping[str, Any], name: str, faults: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in file.items():
        setting = SETTINGS.get(key)
        if setting is None:
            faults.append(f"{name}: unknown key {key!r}{_near(key, list(SETTINGS))}")
        elif setting.is_secret:
            faults.append(f"{name}: {key} has no place in a file of settings: use api_key_file")
        else:
            _take(found, setting, lambda s=setting, v=value: s.checked(v), f"{name}: {key}", value,
                  faults)  # fmt: skip
    return found


def _of_environment(environment: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    known = {setting.variable: setting for setting in SETTINGS.values()}
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX):
            continue
        setting = known.get(name)
        if setting is not None:
            shown = "***" if setting.is_secret else text
            _take(found, setting, lambda s=setting, t=text: s.of_text(t), name, shown, faults)
        elif near := get_close_matches(name, list(known), n=1, cutoff=_cutoff(name)):
            # other variables that begin so are for other parts of omnijet
            faults.append(f"{name}: there is no such setting; did you mean {near[0]}?")
    return found


def _cutoff(name: str) -> float:
    """Returns how near a name must be to count as a slip: who misspells a key opens the server."""
    return 0.5 if "KEY" in name or "TOKEN" in name or "SECRET" in name else 0.85


def _of_flags(flags: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, given in flags.items():
        if given is None:
            continue
        setting = SETTINGS[name]
        where = "BUNDLE" if name == "bundle" else setting.flag
        if isinstance(given, list):
            _take(found, setting, lambda s=setting, v=given: s.checked(v), where, given, faults)
        else:
            _take(found, setting, lambda s=setting, v=given: s.of_text(v), where, given, faults)
    return found


def _take(
    found: dict[str, Any], setting: Setting, read: Any, where: str, shown: Any, faults: list[str]
) -> None:
    try:
        found[setting.name] = read()
    except _Unfit as error:
        faults.append(f"{where}: expected {error}, got {str(shown)[:60]!r}")


def _contradictions(config: ServeConfig) -> list[str]:
    faults = []
    if config.engines is not None and config.provider is not None:
        faults.append("engines and provider are two ways to run a bundle: leave one of them out")
    if config.bodies_bytes < config.body_bytes:
        faults.append(
            f"bodies_bytes {config.bodies_bytes} is less than body_bytes {config.body_bytes}"
        )
    for origin in config.cors:
        if origin != "*" and not _is_origin(origin):
            faults.append(f"cors: expected SCHEME://HOST[:PORT] or *, got {origin[:60]!r}")
    for name in config.hosts:
        if not name or set(name) & set("/@ ") or "://" in name:
            faults.append(f"hosts: expected the name of a machine, got {name[:60]!r}")
    if not config.host:
        faults.append("host: expected an address, got ''")
    return faults


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    rest = (parts.path, parts.query, parts.fragment, parts.username)
    return bool(parts.scheme and parts.hostname) and not any(rest) and "*" not in text


def _key(
    config: ServeConfig,
    said: Mapping[str, Any],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    faults: list[str],
) -> str | None:
    """Returns the key that clients have to send, of a variable or a file."""
    key, path = said.get("api_key"), config.api_key_file
    variable = SETTINGS["api_key_file"].variable
    if key is not None and flags.get("api_key_file") is None:
        if environment.get(variable):
            faults.append(f"OMNIJET_API_KEY and {variable} name two keys: leave one of them out")
        path = ""
    if path:
        try:
            key = read_bounded(Path(path), MOST_KEY_BYTES).decode("utf-8").strip()
        except (OSError, BadFile, UnicodeDecodeError) as error:
            faults.append(f"api_key_file: {path} cannot be read: {_why(error)}")
            return None
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        faults.append("the API key: expected visible ASCII characters without blanks")
        return None
    return key


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else str(error)[:80]


def _near(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
