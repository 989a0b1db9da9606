#!/bin/sh
# Wheels for aarch64, cross-compiled on another machine: one for each Python before 3.12 (JetPack 6 has 3.10), one for
# the stable ABI of Python 3.12 and newer (JetPack 7 has 3.12). Each is looked into: its machine, the libraries and versions it asks for, and
# that every function it wants of Python is in the Python it is for.
# usage: sh scripts/cross_wheels.sh FOLDER [VERSION ...]   default: 3.10 3.12; takes g++-aarch64-linux-gnu, and these
# Pythons with their headers
set -eu
folder=${1:?usage: sh scripts/cross_wheels.sh FOLDER [VERSION ...]}
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."
command -v aarch64-linux-gnu-g++ >/dev/null || { echo "error: apt-get install g++-aarch64-linux-gnu" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/lineside-cross.XXXXXX")
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/lineside"

cross() { # MINOR TAG [OPTION FOR PIP ...]
    minor=$1 tag=$2
    shift 2
    for python in "python3.$minor" "${HOME:-/nonexistent}/.pyenv/versions/3.$minor"*/bin/python"3.$minor" ""; do
        ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || break
    done
    [ -n "$python" ] || { echo "error: no Python 3.$minor was found" >&2; exit 2; }
    echo "== $tag with the headers of $("$python" -V)"
    "$python" -m venv "$work/$tag"
    "$work/$tag/bin/pip" install -q "scikit-build-core>=0.11" "nanobind>=2.9" "cmake>=3.26" ninja
    # What Python would say of itself there; on 64 bit Linux its headers are the same for both processors.
    env PATH="$work/$tag/bin:$PATH" _PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=".cpython-3$minor-aarch64-linux-gnu.so" \
        "$work/$tag/bin/pip" wheel -q --no-build-isolation --no-deps -w "$folder" "$@" \
        --config-settings cmake.define.CMAKE_SYSTEM_NAME=Linux --config-settings cmake.define.CMAKE_SYSTEM_PROCESSOR=aarch64 \
        --config-settings cmake.define.CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ --config-settings build-dir="$work/build-$tag" "$work/lineside"
    wheel=$(find "$folder" -name "*-$tag-linux_aarch64.whl")
    [ -n "$wheel" ] || { echo "error: no wheel *-$tag-linux_aarch64.whl in $folder" >&2; exit 1; }
    rm -rf "$work/unpacked"
    "$python" -m zipfile -e "$wheel" "$work/unpacked"
    look_into "$(find "$work/unpacked" -name '_native*.so')"
}

look_into() { # SHARED OBJECT
    readelf -h "$1" | grep -q 'Machine: *AArch64' || { echo "error: $1 is not for aarch64" >&2; exit 1; }
    readelf -W --dyn-syms "$1" >"$work/symbols"
    wanted=$(awk '$7 == "UND" && $8 ~ /^_?Py/ { print $8 }' "$work/symbols" | sort -u)
    # The same functions of this machine's Python of that version: nothing may be missing.
    echo "$wanted" | "$python" -c '
import ctypes, sys
names = sys.stdin.read().split()
missing = [name for name in names if not hasattr(ctypes.pythonapi, name)]
assert names and not missing, f"not in this Python: {missing}"
print(f"  {len(names)} functions of Python wanted, all of them there")'
    echo "  $(basename "$1"), $(wc -c <"$1") bytes; libraries: $(readelf -d "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')"
    echo "  newest versions asked for: $(for kind in GLIBC GLIBCXX CXXABI; do
        grep -o "@${kind}_[0-9.]*" "$work/symbols" | tr -d @ | sort -uV | tail -1; done | tr '\n' ' ')"
}

[ $# != 0 ] || set -- 3.10 3.12
for version in "$@"; do
    minor=${version#3.}
    if [ "$minor" -ge 12 ]; then
        cross "$minor" cp312-abi3 --config-settings wheel.py-api=cp312
    else
        cross "$minor" "cp3$minor-cp3$minor"
    fi
done
ls "$folder"
