"""The table of backends: what a user can ask for is what its rows say."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from omnijet.runtime.backends import choose
from omnijet.runtime.backends.choose import BACKENDS, PROVIDERS, BackendRow, backend_for
from omnijet.runtime.backends.opened import Opened
from omnijet.runtime.backends.ort_cpu import OrtBackend
from omnijet.runtime.backends.protocol import BackendRequest
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.errors import OmnijetError


class Own(OrtBackend):
    """A backend of somebody's own."""

    name = "own"

    @classmethod
    def for_request(cls, request: BackendRequest) -> Own:
        assert request.name == "own" and request.threads == 2
        return cls(request.threads)


def test_a_new_backend_is_one_row(nano: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    row = BackendRow("own", "provider", f"{__name__}:Own", "a backend of one's own", False)
    monkeypatch.setattr(choose, "BACKENDS", (*BACKENDS, row))
    backend = backend_for(Bundle.open(nano[1]), "own", threads=2)
    assert isinstance(backend, Own)
    backend.close()


def test_rows_name_classes_that_are_there() -> None:
    assert len({row.name for row in BACKENDS}) == len(BACKENDS)
    assert PROVIDERS[0] == "cpu" and "cuda" in PROVIDERS and "engines" not in PROVIDERS
    for row in BACKENDS:
        made = row.backend_class()
        assert "f16" in made.precisions and callable(made.for_request), row


def test_the_choice_of_a_backend(nano: tuple[Path, Path]) -> None:
    bundle = Bundle.open(nano[1])
    for provider in (None, "cpu"):
        backend = backend_for(bundle, provider)
        assert backend.name == "onnxruntime-cpu"
        backend.close()
    with pytest.raises(OmnijetError, match="no provider 'rocm'") as caught:
        backend_for(bundle, "rocm")
    assert caught.value.expected == "one of " + ", ".join(PROVIDERS)
    with pytest.raises(OmnijetError, match="two ways"):
        backend_for(bundle, "cpu", "orin-nx")
    with pytest.raises(OmnijetError, match="no engines for "):
        backend_for(bundle, engines="")


def test_help_lists_every_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # lines are not broken
    parser = ArgumentParser(exit_on_error=False)
    add_backend(parser)
    shown = parser.format_help()
    assert all(f"{row.name}: {row.title}" in shown for row in BACKENDS if row.option == "provider")


def test_the_table_imports_no_backend() -> None:
    code = (
        "import sys\n"
        "import omnijet.runtime.backends.choose\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "assert not [name for name in sys.modules if '.trt' in name or name.endswith('ort_cpu')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_opened_too_late_is_closed_at_once() -> None:
    """Another thread closes the backend while a graph is being loaded."""

    class Thing:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    opened, early, late = Opened(), Thing(), Thing()
    assert opened.add(early, "vocoder") is early
    opened.close()
    with pytest.raises(OmnijetError, match="graph vocoder cannot run"):
        opened.add(late, "vocoder")
    assert (early.closed, late.closed) == (1, 1)
