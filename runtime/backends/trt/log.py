"""What a library says while it works: for messages and for `logging`."""

from __future__ import annotations

import logging
from collections import deque
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)


@cache
def log_of(base: Any) -> Any:
    """The one logger of a library, for ever: TensorRT keeps a pointer to the first that it is
    given, writes to it whatever any engine has to say, and never lets go of it.

    It keeps what the library calls an error in `said`, hands warnings to `logging`.

    Args:
        base: the library's class `ILogger`.
    """

    class Log(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.said: deque[str] = deque(maxlen=10)
            self.count = 0  # of all errors so far

        def log(self, severity: Any, msg: str) -> None:
            if severity <= base.Severity.ERROR:
                self.said.append(msg.strip()[:300])
                self.count += 1
            elif severity <= base.Severity.WARNING:
                _log.info("%s", msg)

    return Log()
