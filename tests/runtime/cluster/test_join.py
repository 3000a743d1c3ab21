"""A cluster that is started here: who reaches it, and what is left of it."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from omnijet.runtime.cluster.join import joined
from omnijet.runtime.errors import OmnijetError

EVIL = "import pathlib; pathlib.Path({marker!r}).write_text('imported')\n"


def test_a_cluster_that_does_not_answer_is_told() -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    folder, before = Path.cwd(), dict(os.environ)
    with pytest.raises(OmnijetError, match="cannot be reached"), joined("127.0.0.1:1", "tests"):
        pass
    assert Path.cwd() == folder and dict(os.environ) == before


def listeners() -> set[str]:
    """Returns the addresses that this process and its children listen at."""
    me = psutil.Process()
    return {
        one.laddr.ip
        for process in [me, *me.children(recursive=True)]
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }


def where(_: int) -> tuple[str, list[str]]:
    import sys

    return os.getcwd(), list(sys.path)


def test_a_local_cluster_is_reached_from_this_machine_only_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    marker = tmp_path / "marker"
    for name in ("sitecustomize", "grpc", "aiohttp", "psutil", "where"):
        (tmp_path / f"{name}.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with joined("local", "tests", num_cpus=1):
        assert Path.cwd() == tmp_path and dict(os.environ) == before
        folder, path = ray.get(ray.remote(where).remote(0))
        assert str(tmp_path) not in [folder, *path] and "" not in path
        found = listeners()
        assert found, "no port was found"
        # IPv4 in IPv6 is written ::ffff:127.0.0.1
        assert all(ip_address(one.removeprefix("::ffff:")).is_loopback for one in found), found
        started = psutil.Process().children(recursive=True)
        secret = psutil.Process(_raylet()).environ()["RAY_AUTH_TOKEN"]
        assert len(secret) == 64 and secret not in os.environ.values()
    assert not marker.exists()
    assert not psutil.wait_procs(started, timeout=30)[1]
    assert not Path(folder).parent.exists()


def _raylet() -> int:
    (found,) = [one.pid for one in psutil.Process().children() if one.name() == "raylet"]
    return found
