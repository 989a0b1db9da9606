"""What TensorRT says while it works: kept for the sentence that an error becomes."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from functools import cache
from typing import Any

from lineside.runtime.engines.tensorrt.keeping import immortal

__all__ = ["Log", "open_log"]

KEPT = 40
"""So many of the last messages are kept."""

_LOGS: weakref.WeakSet[Log] = weakref.WeakSet()
_LOCK = threading.Lock()  # TensorRT writes from several threads


class Log:
    """The last errors and warnings.

    Attributes:
        errors: The last errors, oldest first.
        warnings: The last warnings, oldest first.
        logger: What TensorRT writes to, one for the whole process.
    """

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=KEPT)
        self.warnings: deque[str] = deque(maxlen=KEPT)
        self.logger: Any = None

    def reason(self) -> str:
        """The first error in one line, since later ones follow from it; empty where there is none."""
        return self.errors[0] if self.errors else ""

    def says(self, *words: str) -> bool:
        """Whether an error has one of these words, in small letters."""
        return any(word in line.lower() for line in self.errors for word in words)

    def clear(self) -> None:
        """Forgets everything."""
        self.errors.clear()
        self.warnings.clear()


def open_log(trt: Any) -> Log:
    """A log, and the logger that writes into it.

    TensorRT keeps the first logger of a process to its end and ignores every later one, so there is one for all logs, and
    each log gets whatever is said while it is held.

    Args:
        trt: The module ``tensorrt``.
    """
    log = Log()
    log.logger = _logger(trt)
    with _LOCK:
        _LOGS.add(log)
    return log


@cache
def _logger(trt: Any) -> Any:
    """The logger of the process; its class is over TensorRT's own, which can only be named when TensorRT is there."""
    severity = trt.ILogger.Severity
    bad, odd = (severity.INTERNAL_ERROR, severity.ERROR), (severity.WARNING,)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            line = " ".join(str(msg).split())
            with _LOCK:
                logs = list(_LOGS)
            for log in logs:
                if severity in bad:
                    log.errors.append(line)
                elif severity in odd:
                    log.warnings.append(line)

    return immortal(Logger())
