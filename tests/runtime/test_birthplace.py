"""A process that forks with a model open: the child is told, and both come to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet.runtime.birthplace import Birthplace
from omnijet.runtime.errors import OmnijetError
from tests.layering import ROOT

PATIENCE_S = 60
FORKS = """
import os, signal, sys, multiprocessing
import omnijet

LIMITS = {"max_text_tokens": 4, "max_codes": 30, "seed": 1, "greedy": True}
ASKED = [{"role": "user", "content": "Hello"}]
omni = omnijet.load(sys.argv[1])
session = omni.session()
before = session.generate("Hello", **LIMITS)
stream = omni.stream(ASKED, **{**LIMITS, "max_codes": 3000})
next(stream)  # its threads run on

def refused(call):
    try:
        call()
    except omnijet.OmnijetError as error:
        return "forked" in str(error)
    return False

def told():
    calls = [
        lambda: omni.generate(ASKED, **LIMITS), lambda: omni.stream(ASKED, **LIMITS),
        omni.session, omni.load, lambda: omni.mel_of([1, 2]),
        lambda: session.generate("Hello", **LIMITS), lambda: session.stream("Hello", **LIMITS),
        lambda: session.messages, lambda: session.media_bytes, session.reset, session.fork,
        lambda: next(stream), lambda: stream.reply,
    ]
    assert [refused(call) for call in calls] == [True] * len(calls)

def closes():
    stream.cancel()
    with session, stream, omni:
        pass

def opens():
    with omnijet.load(sys.argv[1]) as own:
        assert own.generate(ASKED, **LIMITS).text_ids == before.text_ids

def nothing():
    pass

def child(work):
    sys.stdout.flush()
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    signal.alarm(30)
    work()
    print(work.__name__, end=" ")
    sys.exit(7)

codes = [child(work) for work in (nothing, told, closes, opens)]
forking = multiprocessing.get_context("fork")
process = forking.Process(target=told)
process.start()
process.join()
stream.cancel()
assert session.generate("Hello", **LIMITS).text_ids
omni.close()
print(codes, process.exitcode)
assert child(nothing) == 7  # with no model open
"""


def test_a_child_is_told(nano: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, nano[1]],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("[")[1] == "7, 7, 7, 7] 0\nnothing "
    assert not done.stderr


def test_where_it_was_made_it_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Owner:
        pass

    owner = Owner()
    place = Birthplace(owner, "a-bundle")
    place.require_here()
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    assert not place.is_here
    with pytest.raises(OmnijetError, match="forked") as caught:
        place.require_here()
    assert caught.value.where == "a-bundle" and "spawn" in str(caught.value.fix)


def test_a_child_leaves_what_is_its_parents(tmp_path: Path) -> None:
    """Neither its end nor a signal to it touches what the parent is making."""
    code = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from omnijet.runtime import leftovers\n"
        "from omnijet.runtime.interrupt import interruptible\n"
        "with interruptible(lambda: os._exit(9)), leftovers.temporary_folder('t-') as made:\n"
        "    if not (process := os.fork()):\n"
        "        try:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            time.sleep(10)\n"
        "        except KeyboardInterrupt:\n"
        "            leftovers.remove_all()\n"
        "            os._exit(5)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 5\n"
        "    time.sleep(0.1)\n"
        "    assert made.exists()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        timeout=PATIENCE_S, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
