"""A bundle's manifest: the round trip, and every way to damage it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import PRESETS, preset
from omnijet.runtime.bundle.contract import Precision, graph_contracts
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.dims_rules import model_faults, preprocessing_faults
from omnijet.runtime.bundle.folder import CHAT_TEMPLATE, TOKENIZER, Bundle, check_files
from omnijet.runtime.bundle.manifest import (
    FILE_NAME,
    GraphEntry,
    Manifest,
    TableEntry,
    VoiceEntry,
    hash_file,
)
from omnijet.runtime.bundle.manifest_rules import table_shapes
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError
from tests.manifests import write_sealed

PREPROCESSOR = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
).to_json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy(tmp_path / "bundle")


def toy(folder: Path, *, speech: bool = True, precision: Precision = "f32") -> Path:
    """Writes a bundle of toy files: everything in it is real but the graphs."""
    (folder / "graphs").mkdir(parents=True)
    (folder / "tables").mkdir()
    dims = read_dims(preset("nano"), None, "nano", speech=speech)
    graphs = {}
    for name in graph_contracts(dims, precision):
        (folder / f"graphs/{name}.onnx").write_bytes(name.encode() * 10)
        (folder / f"graphs/{name}.weights").write_bytes(b"weights")
        graphs[name] = GraphEntry(
            f"graphs/{name}.onnx", f"graphs/{name}.weights", 0, 7, 1, 24, {"MatMul": 1}
        )
    voices = {"Chelsie": VoiceEntry(7), "Ethan": VoiceEntry(8)} if speech else {}
    shapes = table_shapes(dims, precision, voices, points=3)
    for name, (dtype, shape) in shapes.items():
        held = dtype.replace("bfloat16", "float16")
        values = np.arange(np.prod(shape), dtype=held).reshape(shape)
        np.save(folder / f"tables/{name}.npy", values)
    for name in (TOKENIZER, CHAT_TEMPLATE):
        (folder / name).write_text(name)
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    Manifest(
        name="toy",
        precision=precision,
        dims=dims,
        graphs=graphs,
        tables={n: TableEntry(f"tables/{n}.npy", *shapes[n]) for n in shapes},
        voices=voices,
        preprocessor=PREPROCESSOR,
        files={p.relative_to(folder).as_posix(): hash_file(p) for p in paths},
    ).write(folder)
    return folder


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / FILE_NAME).read_text())
    data.update(changes)
    write_sealed(folder, data)


@pytest.mark.parametrize("speech", [True, False])
def test_round_trip(tmp_path: Path, speech: bool) -> None:
    folder = toy(tmp_path / "bundle", speech=speech)
    manifest = Manifest.read(folder)
    before = (folder / FILE_NAME).read_text()
    manifest.write(folder)
    assert (folder / FILE_NAME).read_text() == before
    assert check_files(Bundle.open(folder)) == []


def test_tables_are_mapped_not_loaded(folder: Path) -> None:
    table = Bundle.open(folder).table("no_voice")
    assert isinstance(table, np.memmap)
    assert table[11] == 11


def test_a_flipped_bit_is_found(folder: Path) -> None:
    path = folder / "graphs/dit_step.onnx"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    faults = check_files(Bundle.open(folder))
    assert len(faults) == 1 and faults[0].startswith("graphs/dit_step.onnx: sha256")


def test_a_stray_file_is_found(folder: Path) -> None:
    (folder / "graphs/old.onnx").write_bytes(b"")
    assert check_files(Bundle.open(folder)) == ["graphs/old.onnx: not in the manifest"]


def test_a_bundle_without_a_voice_has_three_graphs(tmp_path: Path) -> None:
    bundle = Bundle.open(toy(tmp_path / "bundle", speech=False))
    assert list(bundle.manifest.graphs) == ["audio_encoder", "vision_encoder", "thinker_step"]
    data = json.loads((bundle.folder / FILE_NAME).read_text())
    assert not data["dims"].keys() & {"speech", "talker", "dit", "ecapa", "vocoder", "codec"}
    for asked in (None, "Chelsie"):
        with pytest.raises(OmnijetError, match="this bundle has no voice"):
            bundle.voice_id(asked)


def test_voices_without_speech_are_damage(tmp_path: Path) -> None:
    folder = toy(tmp_path / "bundle", speech=False)
    edit(folder, voices={"Chelsie": {"bos_token": 7}})
    with pytest.raises(OmnijetError, match="no Talker, DiT and vocoder"):
        Bundle.open(folder)


def test_half_a_voice_is_damage(folder: Path) -> None:
    damage(folder, "dims|codec", ...)
    with pytest.raises(OmnijetError, match=r"dims\.speech\.codec: missing"):
        Bundle.open(folder)


def test_missing_and_shortened_files_are_listed_at_once(folder: Path) -> None:
    (folder / "graphs/vocoder.onnx").unlink()
    (folder / "tables/dit_times.npy").write_bytes(b"x")
    with pytest.raises(OmnijetError) as caught:
        Bundle.open(folder)
    assert "graphs/vocoder.onnx: missing" in str(caught.value)
    assert "tables/dit_times.npy: 1 bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"version": 2', '"version": 3'), "install a newer omnijet"),
        (('"version": 2', '"version": 1'), "export the bundle again"),
        (('"omnijet-bundle"', '"zip"'), "not an omnijet manifest"),
        (('"rope_theta": 1000000.0', '"rope_theta": 100000.0'), "changed after omnijet wrote it"),
        (('"hop": 160', '"hop": 161'), "changed after omnijet wrote it"),
        (('"hop": 160', '"hop":  160'), "changed after omnijet wrote it"),
        (('"sha256": "', '"sha256": "0'), "changed after omnijet wrote it"),
        (('"sha256"', '"sha257"'), "changed after omnijet wrote it"),
    ],
)
def test_a_foreign_manifest_is_refused(folder: Path, change: tuple[str, str], said: str) -> None:
    text = (folder / FILE_NAME).read_text()
    assert change[0] in text
    (folder / FILE_NAME).write_text(text.replace(*change, 1))
    with pytest.raises(OmnijetError, match=said):
        Bundle.open(folder)


def damage(folder: Path, path: str, value: object) -> None:
    """Sets the place `a|b|c` of the manifest; the value `...` removes it."""
    data = json.loads((folder / FILE_NAME).read_text())
    *way, last = path.split("|")
    place = data
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    write_sealed(folder, data)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("graphs|vocoder|file", None, "graphs.vocoder.file: expected of type str"),
        ("graphs|vocoder|file", "../other/vocoder.onnx", "a path within the bundle"),
        ("graphs|vocoder|weights", "/etc/passwd", "a path within the bundle"),
        ("graphs|vocoder|weights", "graphs/gone", "is not among the files"),
        ("graphs|vocoder|weights", "graphs/dit_step.weights", "'graphs/dit_step.weights' has 2"),
        ("graphs|vocoder|weight_bytes", 8, "weight_bytes: expected 7, the file's size, got 8"),
        ("graphs|vocoder|nodes", -1, "nodes: expected a number from 0"),
        ("graphs|vocoder|ops|MatMul", 2, "nodes: expected 2, the sum of ops, got 1"),
        ("graphs|vocoder|author", "me", "graphs.vocoder.author: unknown"),
        ("dims", {"audio": 3}, "manifest is damaged"),
        ("contracts", {}, "contract of audio_encoder"),
        ("contracts|other", {}, "contract of other"),
        ("shape", [], "shape: unknown"),
        ("graphs|vocoder|ops", None, "graphs.vocoder.ops: expected an object"),
        ("graphs|vocoder|parameters", "x", "graphs.vocoder.parameters: expected of type int"),
        ("graphs|vocoder|nodes", True, "graphs.vocoder.nodes: expected of type int"),
        ("graphs|vocoder", ..., "contract of vocoder"),
        ("graphs|other", {}, "graphs.other.file: missing"),
        ("tables|no_voice|shape", ["4"], r"tables.no_voice.shape\[0\]"),
        ("tables|no_voice|file", "tables/gone.npy", "is not among the files"),
        ("tables|dit_codec", ..., "no table dit_codec"),
        ("tables|voice_Ethan", ..., "no table voice_Ethan"),
        ("voices", {}, "no voice"),
        ("voices|Ethan|bos_token", 10**9, "voices.Ethan.bos_token: expected a number from 0"),
        ("voices|Ethan|bos_token", 1024, "voice Ethan: token 1024 is not in the vocabulary"),
        ("voices|Ethan|bos_token", -1, "voices.Ethan.bos_token: expected a number from 0"),
        ("voices|Ethan|bos_token", "x", "voices.Ethan.bos_token"),
        ("preprocessor", None, "preprocessor: expected an object"),
        ("preprocessor|patch", ..., "patch: missing"),
        ("precision", "f64", "precision: expected 'f32' or 'f16' or 'bf16'"),
        ("dims|thinker|layers", "2", "dims.thinker.layers"),
        ("tables|no_voice|dtype", "banana", r"expected float32\[64\], as dims say, got banana"),
        ("tables|no_voice|shape", [63], r"expected float32\[64\], as dims say"),
        ("tables|dit_times|shape", [], "expected 1 to 10000 points, got 0"),
        ("tables|thinker_embedding|shape", [1023, 64], r"expected float32\[1024, 64\]"),
        (
            "tables|other",
            {"file": "tables/no_voice.npy", "dtype": "float32", "shape": [1]},
            "tables.other: unknown",
        ),
        ("files|tables/no_voice.npy|bytes", 100, "expected 256 bytes and a header, got 100"),
        ("files|graphs/vocoder.onnx|sha256", "ab", "64 hexadecimal digits"),
        ("files|graphs/vocoder.onnx|bytes", 0, "expected 1 to 2147483648 bytes, got 0"),
        ("dims|thinker|rope_theta", 0.5, "dims.thinker.rope_theta: expected a number from 1"),
        ("dims|thinker|heads", 0, "dims.thinker.heads: expected a number from 1"),
        ("dims|thinker|mrope_section", [2, 3], "expected 3 items"),
        ("dims|thinker|mrope_section", [2, 3, 4], "thinker.mrope_section sums up to 8"),
        ("dims|speech", {}, "dims.speech: unknown"),
        ("dims|tokens|eos", [1024], "tokens.eos 1024 is below thinker.vocab 1024"),
        ("preprocessor|hop", 401, "expected that hop is at most n_fft"),
        ("preprocessor|n_mels", 80, "preprocessor.n_mels: expected 128, as the encoder has it"),
        ("preprocessor|merge", 1 << 20, "merge: expected at most 1024"),
        ("preprocessor|other", 1, "other: unknown"),
        ("versions|torch", 2, "versions.torch: expected of type str"),
        ("versions|torch", "x" * 300, "1 to 255 printable characters"),
        ("name", "a\nb", "name: expected 1 to 255 printable characters"),
        ("quantization", {"recipe": 1}, "quantization.recipe"),
        ("engines", {"orin-nx": {"vocoder": {}}}, "engines.orin-nx.vocoder.file: missing"),
        ("name", ..., "name: missing"),
    ],
)
def test_a_damaged_manifest_names_the_place(
    folder: Path, path: str, value: object, said: str
) -> None:
    damage(folder, path, value)
    with pytest.raises(OmnijetError, match=said):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../x", "/x", "a//x", "a/./x", "a/../x", "./x", "x/", "", "a\\x", "a\0x", "a\nx", "a x",
        "~/x", ".x", "a/.x", "caf\xe9", "C:x", "x" * 300, "a/" * 9 + "x",
    ],
)  # fmt: skip
def test_a_file_outside_the_bundle_or_of_two_spellings_is_refused(folder: Path, name: str) -> None:
    damage(folder, f"files|{name}", {"bytes": 1, "sha256": "0" * 64})
    with pytest.raises(OmnijetError, match="expected a path within the bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("manifest.json", "cannot hold its own hash"),
        ("manifest.json.minisig", "cannot hold its own hash"),
        ("graphs/VOCODER.onnx", "differ in upper and lower case only"),
        ("graphs", "'graphs' is a file and a folder"),
    ],
)
def test_a_file_that_no_disk_can_hold_beside_others_is_refused(
    folder: Path, name: str, said: str
) -> None:
    damage(folder, f"files|{name}", {"bytes": 1, "sha256": "0" * 64})
    with pytest.raises(OmnijetError, match=said):
        Bundle.open(folder)


def test_all_faults_are_told_at_once(folder: Path) -> None:
    damage(folder, "graphs|vocoder|nodes", "x")
    damage(folder, "voices|Ethan|bos_token", None)
    with pytest.raises(OmnijetError) as caught:
        Bundle.open(folder)
    assert "graphs.vocoder.nodes" in str(caught.value)
    assert "voices.Ethan.bos_token" in str(caught.value)


def test_what_would_not_be_read_is_not_written(folder: Path) -> None:
    manifest = Manifest.read(folder)
    before = (folder / FILE_NAME).read_bytes()
    for changed in (
        replace(manifest, name="a\nb"),
        replace(manifest, quantization={"recipe": "x", "budget": {"loss": float("inf")}}),
        replace(manifest, provenance={"checkpoint": "\udcff"}),
        replace(manifest, files={}),
    ):
        with pytest.raises(OmnijetError, match="manifest"):
            changed.write(folder)
    assert (folder / FILE_NAME).read_bytes() == before
    assert not list(folder.glob(".*"))


def test_a_table_of_another_kind_is_refused(folder: Path) -> None:
    path = folder / "tables/no_voice.npy"
    np.save(path, np.arange(32, dtype=np.float64))
    damage(folder, "files|tables/no_voice.npy", asdict(hash_file(path)))
    with pytest.raises(OmnijetError, match="not what the manifest says"):
        Bundle.open(folder).table("no_voice")


def test_a_table_of_bf16_comes_as_its_bits(tmp_path: Path) -> None:
    folder = toy(tmp_path / "bundle", precision="bf16")
    with pytest.raises(OmnijetError, match="not what the manifest says"):
        Bundle.open(folder).table("thinker_embedding")
    path = folder / "tables/thinker_embedding.npy"
    bits = np.arange(1024 * 64, dtype=np.uint16).reshape(1024, 64)
    np.save(path, bits)
    damage(folder, "files|tables/thinker_embedding.npy", asdict(hash_file(path)))
    np.testing.assert_array_equal(Bundle.open(folder).table("thinker_embedding"), bits)


def test_a_drifted_contract_in_the_manifest_is_refused(folder: Path) -> None:
    data = json.loads((folder / FILE_NAME).read_text())
    data["contracts"]["dit_step"]["inputs"][0]["axes"][2] = 81
    edit(folder, contracts=data["contracts"])
    with pytest.raises(OmnijetError, match="contract of dit_step"):
        Bundle.open(folder)


@pytest.mark.parametrize("make", ["nothing", "file", "empty"])
def test_what_is_no_bundle_says_so(tmp_path: Path, make: str) -> None:
    path = tmp_path / "x"
    if make == "file":
        path.write_text("hello")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(OmnijetError, match="not an omnijet bundle"):
        Bundle.open(path)


def test_not_json(folder: Path) -> None:
    (folder / FILE_NAME).write_text("{")
    with pytest.raises(OmnijetError, match="cannot be read"):
        Bundle.open(folder)


def test_unknown_voice_lists_the_voices(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.voice_id(None) == ("Chelsie", 7)
    with pytest.raises(OmnijetError, match="one of Chelsie, Ethan"):
        bundle.voice_id("Bob")


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("speech", [True, False])
def test_every_model_keeps_its_rules(name: str, speech: bool) -> None:
    dims = read_dims(preset(name), None, name, speech=speech)
    assert model_faults(dims) == []
    assert preprocessing_faults(Preprocessing.from_json(PREPROCESSOR), dims) == []
    assert ModelDims.from_json(json.loads(json.dumps(dims.to_json()))) == dims
