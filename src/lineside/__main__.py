"""``python -m lineside``."""

import sys

from lineside.cli import main

if __name__ == "__main__":
    sys.exit(main())
