#!/bin/sh
# Makes or refreshes a virtual environment: sh scripts/env.sh FOLDER --extras cpu,station ... (see scripts/venv.py).
set -eu
cd "$(dirname "$0")/.."
python=$(sh scripts/find_python.sh)
exec "$python" scripts/venv.py "$@"
