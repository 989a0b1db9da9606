#!/bin/sh
# The runtime's tests on Python 3.10, from a built wheel, with onnxruntime and without torch or OpenCV:
# what a Jetson with JetPack 6 has. pip finds onnxruntime 1.23.2 there, the newest for that Python.
# Skips, and says so, where no Python 3.10 is to be had; PYTHON310 names one.
set -eu
cd "$(dirname "$0")/.."

python=
for candidate in ${PYTHON310:-} python3.10 "${HOME:-/nonexistent}"/.pyenv/versions/3.10*/bin/python3.10; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "SKIPPED: the lean tests on Python 3.10 (JetPack 6): no python3.10 on the PATH, in ~/.pyenv/versions or in PYTHON310." >&2
    exit 0
fi
echo "lean tests on $("$python" --version)"
"$python" scripts/venv.py .venv-310 --extras cpu
# onnx is a tool of the tests, which write small models with it; that the runtime never imports it is a test of its own.
.venv-310/bin/python -m pip install -qq "pytest>=8" "pytest-timeout>=2.3" "hypothesis>=6.100" "onnx>=1.17"
.venv-310/bin/python - <<'END'
from importlib.metadata import PackageNotFoundError, version
for name in ("onnxruntime", "numpy"):
    print(f"  {name} {version(name)}")
for name in ("torch", "ultralytics", "ultralytics-opencv-headless", "opencv-python", "opencv-python-headless"):
    try:
        raise SystemExit(f"error: {name} {version(name)} is in the lean environment")
    except PackageNotFoundError:
        pass
END
exec .venv-310/bin/python -m pytest -p no:cacheprovider --ignore tests/runtime/aarch64 tests/runtime tests/packaging/test_import_rules.py
