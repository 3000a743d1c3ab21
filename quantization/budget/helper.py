"""Does one piece of work after another for the process that started it."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Reads pickled (function, argument) from stdin, and writes what came of each to stdout.

    That is (True, result) or (False, exception). What the function prints goes to stderr.
    """
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while True:
            try:
                work, given = pickle.load(sys.stdin.buffer)
            except EOFError:  # there is no more
                return
            answers.write(_answer(work, given))
            answers.flush()


def _answer(work: Callable[[Any], Any], given: Any) -> bytes:
    try:
        return pickle.dumps((True, work(given)))
    except Exception as error:
        said = traceback.format_exc()
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:  # an exception that no other process can have
            return pickle.dumps((False, RuntimeError(said)))
        return answer
