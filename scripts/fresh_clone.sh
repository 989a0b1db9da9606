#!/bin/sh
# Clones HEAD into a fresh folder (with a space in its name) and runs the two commands of the README there, as a stranger would.
# usage: sh scripts/fresh_clone.sh [TARGET ...]   default: demo test
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/fresh clone.XXXXXX")
trap 'rm -rf "$folder"' EXIT
git clone --quiet . "$folder/lineside"
cd "$folder/lineside"
for target in "${@:-demo test}"; do
    for word in $target; do
        echo "== make $word in $PWD"
        make "$word" </dev/null
    done
done
echo "== make demo again: nothing is installed twice"
make demo </dev/null | tee "$folder/second.txt"
! grep -q '^installing' "$folder/second.txt"
test -z "$(git status --porcelain)" || { git status --short; echo "error: the working tree is not clean afterwards" >&2; exit 1; }
