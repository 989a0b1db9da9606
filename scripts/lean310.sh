#!/bin/sh
# The runtime's tests on Python 3.10, from a built wheel, with onnxruntime and without torch or OpenCV:
# what a Jetson with JetPack 6 has. pip finds onnxruntime 1.23.2 there, the newest for that Python.
# Then every bundle of the zoo that the test suite left in build/zoo replays its golden files there.
# Skips, and says so, where no Python 3.10 is to be had; PYTHON310 names one.
set -eu
cd "$(dirname "$0")/.."

for candidate in ${PYTHON310:-} python3.10 "${HOME:-/nonexistent}"/.pyenv/versions/3.10*/bin/python3.10; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; then
        sh scripts/lean.sh "$candidate" .venv-310
        exec sh scripts/lean_zoo.sh .venv-310/bin/python
    fi
done
echo "SKIPPED: the lean tests on Python 3.10 (JetPack 6): no python3.10 on the PATH, in ~/.pyenv/versions or in PYTHON310." >&2
