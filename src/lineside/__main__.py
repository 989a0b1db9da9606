"""``lineside`` and ``python -m lineside``."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

__all__ = ["main"]

INTERRUPTED = 130


def main() -> int:
    """Runs the command line; Ctrl-C while it is still being imported ends it as quietly as later.

    Returns:
        Exit code, see `lineside.cli.main`.
    """
    codes: list[int] = []
    atexit.register(_keep_the_code, codes)  # The first to be registered is the last to be called.
    try:
        from lineside import cli
        from lineside.cli.endings import leave
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        codes.append(INTERRUPTED)
        return INTERRUPTED
    codes.append(cli.main())
    return leave(codes[-1])


def _keep_the_code(codes: list[int]) -> None:
    """Ends the process with the code of an interrupted command.

    Python notes an interrupt that passes through an ``exec`` of text, as in the making of any dataclass, as one that
    nobody caught: ``python -m`` would end itself with SIGINT in the end, whatever was caught and returned since.
    """
    if codes == [INTERRUPTED]:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
