#!/bin/sh
# Replays the golden files of every bundle of the zoo (tests/export/test_zoo.py leaves them in build/zoo) with one Python.
# usage: sh scripts/lean_zoo.sh PYTHON [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=$1 folder=${2:-build/zoo}
count=0 log=$(mktemp) version=$("$1" -c 'import onnxruntime; print(onnxruntime.__version__)')
trap 'rm -f "$log"' EXIT
for bundle in "$folder"/*.bundle; do
    [ -d "$bundle" ] || continue
    "$python" -m lineside verify "$bundle" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "error: $bundle does not verify with onnxruntime $version" >&2
        exit 1
    }
    count=$((count + 1))
done
if [ "$count" -eq 0 ]; then
    echo "SKIPPED: the zoo with onnxruntime 1.23.2: no bundles in $folder (the tests of the zoo write them)." >&2
    exit 0
fi
models=$(ls configs/models/*.yaml | wc -l)
if [ -z "${2:-}" ] && [ "$count" -ne "$models" ]; then
    echo "error: $count bundles in $folder, and there are $models models: run tests/export/test_zoo.py whole" >&2
    exit 1
fi
echo "zoo: $count bundles verified with onnxruntime $version"
