"""A bundle on disk: the folder that travels from export to the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from omnijet.runtime.bundle.contract import NUMPY_DTYPES, Array
from omnijet.runtime.bundle.dims import no_voice
from omnijet.runtime.bundle.dims_rules import preprocessing_faults
from omnijet.runtime.bundle.inventory import strays
from omnijet.runtime.bundle.manifest import FILE_NAME, FileEntry, Manifest, TableEntry, hash_file
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.bundle.watch import Watch
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.array_file import mapped_array
from omnijet.runtime.files.bounded import BadFile, read_bounded_text
from omnijet.runtime.files.names import require_utf8, shell_quoted
from omnijet.runtime.shortage import out_of_memory, ran_out

TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
MOST_TEXT_BYTES = 1 << 20  # of a template; the published one has 1.5 kB
DEFAULT_VOICE = "Chelsie"
HELD_AS = {"bfloat16": NUMPY_DTYPES["bf16"].name}
"""The numpy dtypes that stand in for those numpy lacks."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle. Opening reads the manifest alone; tables are mapped on demand.

    Attributes:
        watch: notices that files are replaced or edited later: whoever reads one tells it.
    """

    folder: Path
    manifest: Manifest
    watch: Watch = field(default_factory=lambda: Watch(Path()), compare=False, repr=False)

    @staticmethod
    def open(folder: str | Path) -> Bundle:
        """Opens a folder and checks that its files exist and have the right sizes.

        `check_files` verifies their contents. Engines may be missing: the backend that runs
        them checks them. A graph's file may be missing if there is an engine of the graph,
        because a device may have no room for both.

        Raises:
            OmnijetError: the folder is no bundle, or a file is missing or has another size.
        """
        folder = Path(folder)
        require_utf8(folder)
        with Watch(folder, [FILE_NAME]).steady(FILE_NAME):
            return Bundle.of(folder, Manifest.read(folder))

    @staticmethod
    def of(folder: Path, manifest: Manifest) -> Bundle:
        """Opens a folder whose manifest has been read; raises the errors of `open`."""
        absent = left_out(folder, manifest)
        files = {k: v for k, v in manifest.without_engines().files.items() if k not in absent}
        faults = misfits(folder, files)
        if faults:
            raise OmnijetError(
                f"{len(faults)} of {len(files)} files of the bundle differ from the manifest",
                where=folder,
                got="\n            ".join(faults),
                fix="copy the bundle again, or export it again",
            )
        _check_parts(manifest, folder)
        return Bundle(folder, manifest, Watch(folder, [*manifest.files, FILE_NAME]))

    def graph(self, name: str) -> Path:
        return self.folder / self.manifest.graphs[name].file

    def table(self, name: str) -> Array:
        """Returns a table, memory-mapped read-only; bfloat16 comes as bits.

        Raises:
            OmnijetError: it cannot be read, or was replaced since the bundle was opened.
        """
        entry = self.manifest.tables[name]
        with self.watch.reading(entry.file):
            return self._mapped(entry)

    def _mapped(self, entry: TableEntry) -> Array:
        path = self.folder / entry.file
        try:
            return mapped_array(path, HELD_AS.get(entry.dtype, entry.dtype), entry.shape)
        except OSError as error:
            if ran_out(error):
                what = "memory ran out: a table cannot be mapped"
                raise out_of_memory(error, what, path) from error
            raise OmnijetError("a table cannot be read", where=path, got=error) from error
        except BadFile as error:
            raise OmnijetError(
                "a table is not what the manifest says",
                where=path,
                expected=f"{entry.dtype}{list(entry.shape)}",
                got=error,
                fix="export the bundle again",
            ) from error

    def text(self, name: str) -> str:
        """Returns a file's text. Raises `OmnijetError` if it was replaced since the opening."""
        with self.watch.reading(name):
            try:
                return read_bounded_text(self.folder / name, MOST_TEXT_BYTES)
            except (OSError, BadFile) as error:
                raise OmnijetError(
                    "a text of the bundle cannot be read",
                    where=self.folder / name,
                    expected="a text in UTF-8",
                    got=getattr(error, "strerror", None) or error,
                    fix="export the bundle again",
                ) from error

    def speaks(self, asked: bool | None = None) -> bool:
        """Returns whether a reply is spoken: as asked, and by default if there is a voice.

        Raises:
            OmnijetError: speech is asked of a bundle without a voice.
        """
        has_voice = self.manifest.dims.has_voice
        if asked and not has_voice:
            raise no_voice(self.folder)
        return has_voice if asked is None else bool(asked)

    def voice_id(self, voice: str | None) -> tuple[str, int]:
        """Returns a voice's name and opening token.

        The default is the reference's voice, or the first one in a bundle without it.

        Raises:
            OmnijetError: the bundle has no voice, or none of that name; the message lists them.
        """
        if not self.manifest.dims.has_voice:
            raise no_voice(self.folder, None if voice is None else f"voice {voice!r}")
        voices = self.manifest.voices
        name = voice
        if name is None:
            name = DEFAULT_VOICE if DEFAULT_VOICE in voices else next(iter(voices))
        if name not in voices:
            raise OmnijetError(
                f"no voice is called {name!r}",
                where=self.folder,
                expected="one of " + ", ".join(voices),
                fix=_voice_hint(name, list(voices)),
            )
        return name, voices[name].bos_token


def _voice_hint(name: object, voices: Sequence[str]) -> str:
    """Returns how to name a voice that exists; upper and lower case are no difference here."""
    by_letters = {voice.casefold(): voice for voice in voices}
    near = get_close_matches(str(name).casefold(), by_letters, n=1)
    if near:
        return f"did you mean {by_letters[near[0]]}?"
    return "pass one of them with --voice, or as voice=... in Python"


def left_out(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """Returns the missing graph files that an engine replaces, with the names of their graphs."""
    engines = [one for target in manifest.engines.values() for one in target.items()]
    built = {
        graph for graph, entry in engines if all((folder / one).is_file() for one in entry.files)
    }
    return {
        file: graph
        for graph, entry in manifest.graphs.items()
        for file in (entry.file, entry.weights)
        if graph in built and not (folder / file).exists()
    }


def misfits(folder: Path, files: Mapping[str, FileEntry]) -> list[str]:
    """Returns one line for each file that is missing or has another size."""
    faults = []
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: {'no regular file' if path.exists() else 'missing'}")
        elif (size := path.stat().st_size) != entry.bytes:
            faults.append(f"{name}: {size} bytes, not {entry.bytes}")
    return faults


def rebuild_command(folder: Path, target: str) -> str:
    """Returns the command that builds a target's engines again."""
    return f"omnijet build {shell_quoted(folder)} --target {target}"


def _check_parts(manifest: Manifest, folder: Path) -> None:
    """Raises `OmnijetError` if the manifest lacks a part that the pipeline relies on."""
    preprocessing = Preprocessing.from_json(manifest.preprocessor)
    faults = [
        f"no file {name}" for name in (TOKENIZER, CHAT_TEMPLATE) if name not in manifest.files
    ]
    faults += preprocessing_faults(preprocessing, manifest.dims)
    if faults:
        raise OmnijetError(
            "the bundle is incomplete",
            where=folder / FILE_NAME,
            got="\n            ".join(faults),
            fix="export the bundle again",
        )


def check_files(bundle: Bundle, progress: Callable[[int], None] | None = None) -> list[str]:
    """Hashes every file, engines included; returns one line for each fault.

    Whatever else lies in the folder is a fault, too. Graph files that an engine replaces may be
    missing.

    Args:
        progress: called with the number of bytes of each block that was read.
    """
    absent = left_out(bundle.folder, bundle.manifest)
    files = {name: entry for name, entry in bundle.manifest.files.items() if name not in absent}
    faults = misfits(bundle.folder, files)
    wrong = {fault.rpartition(": ")[0] for fault in faults}
    for name, entry in files.items():
        if name in wrong:
            continue
        found = hash_file(bundle.folder / name, progress)
        if found != entry:
            faults.append(f"{name}: sha256 {found.sha256[:16]}…, not {entry.sha256[:16]}…")
    return faults + strays(bundle.folder, bundle.manifest.files)


def require_undamaged(folder: Path, manifest: Manifest, graph: str) -> None:
    """Checks the hashes of a graph: what is made of damaged weights would count as good.

    Raises:
        OmnijetError: a file differs from the manifest.
    """
    entry = manifest.graphs[graph]
    for name in (entry.file, entry.weights):
        if hash_file(folder / name) != manifest.files[name]:
            raise OmnijetError(
                f"graph {graph} is damaged",
                where=folder / name,
                expected=f"sha256 {manifest.files[name].sha256[:16]}…, as the manifest says",
                fix="copy the bundle again, or export it again",
            )
