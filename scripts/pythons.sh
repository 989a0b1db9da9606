#!/bin/sh
# The runtime's tests on every Python of this machine: a table of what passed at the end.
# usage: sh scripts/pythons.sh [PYTHON ...]   default: python3.10 and newer on the PATH and in ~/.pyenv/versions
set -u
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/lineside-pythons.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

if [ $# = 0 ]; then
    for minor in 10 11 12 13 13t 14 14t 15 15t; do
        for candidate in "python3.$minor" "${HOME:-/nonexistent}/.pyenv/versions/3.$minor"*/bin/python"3.$minor"; do
            ! "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1 || set -- "$@" "$candidate"
        done
    done
fi
[ $# != 0 ] || { echo "error: no Python 3.10 or newer was found" >&2; exit 2; }

failed=0 tested=" "
for python in "$@"; do
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3] + sys.abiflags)')
    # The same version once: one installation is often there under two names.
    case $tested in *" $version "*) continue ;; esac
    tested="$tested$version "
    if sh scripts/lean.sh "$python" "$folder/$version" >"$folder/log" 2>&1; then
        verdict=passed
    else
        verdict=FAILED
        failed=1
        tail -30 "$folder/log"
    fi
    rm -rf "${folder:?}/$version"
    parts=$(sed -n 's/^  \(onnxruntime\|numpy\|msgspec\) /\1 /p' "$folder/log" | tr '\n' ' ')
    printf '%-9s %-7s %s%s\n' "$version" "$verdict" "$parts" "$(tail -1 "$folder/log" | tr -d =)" | tee -a "$folder/table"
done
echo "---"
cat "$folder/table"
exit $failed
