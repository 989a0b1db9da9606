#!/bin/sh
# Prints the first Python >= 3.10 that can make virtual environments. $PYTHON comes before all others.
set -eu

for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python3.14 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
echo "error: no Python 3.10 or newer with the venv module was found." >&2
echo "  On Debian or Ubuntu: apt-get install python3 python3-venv python3-dev. Elsewhere set PYTHON=/path/to/python3." >&2
exit 1
