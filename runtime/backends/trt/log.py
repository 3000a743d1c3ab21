"""The library's own log: errors are kept for messages, warnings go to `logging`."""

from __future__ import annotations

import logging
from collections import deque
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)


@cache
def log_of(base: Any) -> Any:
    """Returns the one logger of a library, which lives as long as the process.

    TensorRT keeps a pointer to the first logger that it is given, reports to it whatever any
    engine has to say, and never lets go of it. The logger keeps the last errors in `errors`, and
    hands warnings to `logging`.

    Args:
        base: the library's class `ILogger`.
    """

    class Log(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.errors: deque[str] = deque(maxlen=10)
            self.count = 0  # of all errors so far

        def log(self, severity: Any, msg: str) -> None:
            if severity <= base.Severity.ERROR:
                self.errors.append(msg.strip()[:300])
                self.count += 1
            elif severity <= base.Severity.WARNING:
                _log.info("%s", msg)

    return Log()
