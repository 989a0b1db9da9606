#!/bin/sh
# What contributors and continuous integration run on the code: format, lint (with the import rules of each folder), types.
# usage: sh scripts/check.sh PYTHON. Runs all four, and fails if one of them failed.
cd "$(dirname "$0")/.." || exit 2
python=${1:-.venv-dev/bin/python}
result=0
run() {
    echo "== $*"
    "$python" -m "$@" || result=1
}
run ruff format --check .
run ruff check .
run mypy -p lineside
run pytest -q tests/packaging/test_import_rules.py
exit $result
