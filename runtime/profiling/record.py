"""`profile.json`: a measurement and what it depends on. Only this module knows its layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from omnijet.runtime.bundle.records import build
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.json_text import read_json
from omnijet.runtime.profiling.advice import Advice
from omnijet.runtime.profiling.floor import Floor
from omnijet.runtime.profiling.machine import Machine
from omnijet.runtime.profiling.measure import Result

FORMAT, VERSION = "omnijet-profile", 2
FILE_NAME = "profile.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a measurement; 0 threads means one per core."""

    runs: int
    warmup: int
    threads: int
    preset: str
    backend: str


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """The bundle that was measured; `sha256` is that of its manifest, which hashes every file."""

    name: str
    precision: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Profile:
    """The content of `profile.json`."""

    machine: Machine
    bundle: BundleFacts
    settings: Settings
    scenarios: dict[str, Result]
    floors: dict[str, dict[str, Floor]]
    advice: tuple[Advice, ...]

    def facts(self) -> list[tuple[str, str]]:
        """Returns what the numbers depend on, as (name, text)."""
        bundle, settings = self.bundle, self.settings
        return [
            *self.machine.facts(),
            ("bundle", f"{bundle.name} ({bundle.precision}), manifest sha256 {bundle.sha256}"),
            (
                "measured",
                f"{settings.runs} runs after {settings.warmup}, {settings.backend}, "
                f"{settings.threads or 'all'} threads, preset {settings.preset}",
            ),
        ]

    def to_json(self) -> dict[str, object]:
        """Returns plain dicts, lists and numbers."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @staticmethod
    def read(path: Path) -> Profile:
        """Reads a profile from its file, or from the folder that `--out` wrote.

        Raises:
            OmnijetError: the file is missing, no profile, of another version, or damaged.
        """
        path = path / FILE_NAME if path.is_dir() else path
        try:
            data = read_json(path)
            if not isinstance(data, dict) or data.get("format") != FORMAT:
                raise ValueError(f'format: expected "{FORMAT}"')
            if data.get("version") != VERSION:
                raise ValueError(f"version: expected {VERSION}, got {data.get('version')!r}")
            profile: Profile = build(Profile, data)
        except FileNotFoundError:
            raise OmnijetError("there is no such profile", where=path) from None
        except (OSError, ValueError) as error:
            raise OmnijetError(
                "this profile cannot be read",
                where=path,
                expected=f"{FILE_NAME}, version {VERSION}, as `omnijet profile --out` writes it",
                got=error,
                fix="measure again with `omnijet profile BUNDLE --out FOLDER`",
            ) from error
        return profile
