"""The public interface: what `omnijet` has, when it is imported, and what types it declares."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import omnijet
from tests.strict_types import check_types

ROOT = Path(__file__).parent.parent

USE = """
from typing_extensions import assert_type

import omnijet

omni = omnijet.load("bundle", provider="cuda", context_limit=2048)
assert_type(omni, omnijet.Omni)
reply = omni.generate([{"role": "user", "content": "Hi"}], seed=1)
assert_type(reply, omnijet.Reply)
assert_type(reply.text, str)
assert_type(omnijet.pcm16(reply.audio), bytes)
session: omnijet.Session = omni.session()
stream: omnijet.Stream = session.stream("Hi")
for event in stream:
    if isinstance(event, omnijet.PcmChunk):
        assert_type(event.start_sample, int)
    else:
        assert_type(event, omnijet.TextDelta)
options = omnijet.Options(voice="Ethan")
assert_type(omnijet.keep_heap_small(), bool)
positions, deltas = omnijet.tmrope_positions([[1, 2]])
assert_type(positions.ndim, int)
"""

MISUSE = """
import omnijet

omnijet.load("bundle", contextlimit=2048)
omnijet.load("bundle", provider=3)
omnijet.main(["check"])
"""


def loaded_by(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_omnijet_loads_none_of_its_rooms() -> None:
    ours = {name for name in loaded_by("import omnijet") if name.startswith("omnijet")}
    assert ours == {"omnijet"}


@pytest.mark.parametrize("name", sorted(omnijet.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(omnijet, name) is not None
    assert name in dir(omnijet)


@pytest.mark.parametrize("name", sorted(omnijet.__all__))
def test_every_public_object_says_which_threads_may_use_it(name: str) -> None:
    """A class says it for all its methods."""
    public = getattr(omnijet, name)
    if callable(public):
        assert "\nThreads: any thread may " in (inspect.getdoc(public) or "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Omny'"):
        omnijet.Omny  # noqa: B018


def test_a_type_checker_knows_the_interface(tmp_path: Path) -> None:
    """One run, because most of its time is reading omnijet."""
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    (tmp_path / "misuse.py").write_text(MISUSE, encoding="utf-8")
    said, code = check_types([tmp_path / "use.py", tmp_path / "misuse.py"], tmp_path)
    faults = [line for line in said.splitlines() if ": error:" in line]
    assert code == 1 and len(faults) == 3, said
    assert all("misuse.py" in fault for fault in faults), said
    assert 'Unexpected keyword argument "contextlimit"' in faults[0]
    assert 'Argument "provider" to "load" has incompatible type "int"' in faults[1]
    assert 'Module has no attribute "main"' in faults[2]


def test_pcm16_is_little_endian_and_clipped() -> None:
    samples = np.array([0, 1, -1, 0.5, 7, -7], np.float32)
    assert omnijet.pcm16(samples) == bytes.fromhex("0000 ff7f 0080 0040 ff7f 0080")
