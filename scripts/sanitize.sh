#!/bin/sh
# Builds the native core with AddressSanitizer and UndefinedBehaviorSanitizer into an environment of its own, and runs
# its tests and the fuzz targets that reach it.
# usage: sh scripts/sanitize.sh [PYTHON] [FOLDER] [CASES]
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
folder=${2:-build/sanitized}
cases=${3:-20000}
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"

"$python" -m venv "$folder/env"
"$folder/env/bin/pip" install -q scikit-build-core nanobind ninja cmake pytest pytest-timeout hypothesis
"$folder/env/bin/pip" install -q --no-build-isolation --force-reinstall . \
    --config-settings=build-dir="$folder/objects" --config-settings=cmake.build-type=RelWithDebInfo \
    --config-settings=cmake.define.CMAKE_CXX_FLAGS="$flags"

# Nothing here owns its memory to the end: Python itself leaks, so leaks are not looked for.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export LD_PRELOAD PYTHONDONTWRITEBYTECODE=1
"$folder/env/bin/python" -m pytest -q -p no:cacheprovider tests/runtime/test_decode.py tests/runtime/test_nms.py \
    tests/runtime/test_letterbox.py tests/runtime/test_preprocess.py tests/runtime/test_yuv.py tests/runtime/test_masks.py \
    tests/runtime/test_rle.py tests/runtime/test_polygons.py tests/runtime/test_detections.py
"$folder/env/bin/python" scripts/fuzz.py decode frame rle --fuzzer hypothesis --cases "$cases" --failures "$folder/failures"
