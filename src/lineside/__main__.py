"""``lineside`` and ``python -m lineside``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Runs the command line; Ctrl-C while it is still being imported ends it as quietly as later.

    Returns:
        Exit code, see `lineside.cli.main`.
    """
    try:
        from lineside import cli
        from lineside.cli.endings import leave
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return leave(cli.main())


if __name__ == "__main__":
    sys.exit(main())
