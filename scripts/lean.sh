#!/bin/sh
# The runtime's tests with one Python, from a built wheel, with onnxruntime and without torch or OpenCV.
# usage: sh scripts/lean.sh PYTHON FOLDER [WORD FOR PYTEST ...]   FOLDER: the virtual environment to make or refresh
#   WHEEL   a wheel of Lineside to test in place of the one built from these sources
set -eu
cd "$(dirname "$0")/.."
python=$1 folder=$2
shift 2

echo "lean tests on $("$python" -VV | tr '\n' ' ') $(uname -m)"
if [ -n "${WHEEL:-}" ]; then
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install -qq "lineside[cpu] @ file://$WHEEL"
    "$folder/bin/python" -m pip install -qq --force-reinstall --no-deps "$WHEEL"
else
    "$python" scripts/venv.py "$folder" --extras cpu
fi
"$folder/bin/python" -m pip install -qq "pytest>=8" "pytest-timeout>=2.3" "hypothesis>=6.100" ||
    { echo "error: the test tools could not be installed" >&2; exit 1; }
# The reference vectors of the operators are safetensors files.
"$folder/bin/python" -m pip install -qq "safetensors>=0.4" || echo "note: no safetensors for this Python: the vectors skip" >&2
# onnx is a tool of the tests, which write small models with it; that the runtime never imports it is a test of its own.
"$folder/bin/python" -m pip install -qq "onnx>=1.17" || echo "note: no onnx for this Python: the tests that write models skip" >&2
"$folder/bin/python" - <<'END_OF_PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

for name in ("onnxruntime", "numpy", "msgspec"):
    print(f"  {name} {version(name)}")
for name in ("torch", "ultralytics", "ultralytics-opencv-headless", "opencv-python", "opencv-python-headless"):
    try:
        raise SystemExit(f"error: {name} {version(name)} is in the lean environment")
    except PackageNotFoundError:
        pass
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    import lineside.runtime._native

    if sys._is_gil_enabled():
        raise SystemExit("error: importing the native core switched the GIL back on")
    print("  free-threaded, and still so with the native core loaded")
END_OF_PYTHON
exec "$folder/bin/python" -m pytest -p no:cacheprovider --ignore tests/runtime/aarch64 tests/runtime tests/packaging/test_import_rules.py "$@"
