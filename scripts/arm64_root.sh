#!/bin/sh
# The runtime on aarch64, a Jetson's processor family: an arm64 Debian root under emulation, where the lean wheel is built
# and the runtime's tests run; then the same bits are asked of both processors (tests/runtime/aarch64/bits.py).
# usage: sudo sh scripts/arm64_root.sh [SUITE ...]   default: bookworm (Python 3.11) trixie (Python 3.13)
# Slow: about 20 to 40 minutes a suite. See debian_root.sh for the environment variables; on an arm64 machine nothing
# is emulated. HOST_PYTHON: an interpreter of this machine with Lineside installed, to compare bits with.
# WHEELS: the folder of scripts/cross_wheels.sh; where it has a wheel that fits, that is what is tested, and nothing is
# compiled under emulation, which takes most of the time.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian_root.sh
roots_begin "$@"
emulator
[ $# != 0 ] || set -- bookworm trixie
host_python=${HOST_PYTHON:-.venv-dev/bin/python}

for suite in "$@"; do
    start=$(date +%s)
    root_make "arm64-$suite" "$suite" arm64
    if ! in_root "$root" python3 -c 'import ensurepip' 2>/dev/null; then
        in_root "$root" apt-get update -qq
        in_root "$root" apt-get install -y -qq --no-install-recommends python3 python3-venv </dev/null >/dev/null
    fi
    tag=$(in_root "$root" python3 -c 'import sys; print("cp312-abi3" if sys.version_info >= (3, 12) else "cp3%d-cp3%d" % (2 * sys.version_info[1:2]))')
    wheel=$(find "${WHEELS:-/nonexistent}" -name "*-$tag-linux_aarch64.whl" 2>/dev/null || true)
    if [ -n "$wheel" ]; then
        cp "$wheel" "$root/root/"
        wheel=/root/$(basename "$wheel")
    else
        wheel=
        in_root "$root" apt-get install -y -qq --no-install-recommends python3-dev g++ </dev/null >/dev/null
    fi
    echo "== $suite: $(in_root "$root" uname -m), $(in_root "$root" python3 -V), ready after $(seconds_since "$start")"
    root_clone "$root" /lineside
    start=$(date +%s)
    in_root "$root" env WHEEL="$wheel" sh /lineside/scripts/lean.sh python3 /lean </dev/null
    echo "== $suite: ${wheel:-wheel built there}: tested in $(seconds_since "$start")"

    "$host_python" tests/runtime/aarch64/bits.py >"$roots/bits.here"
    in_root "$root" sh -c 'cd /lineside && /lean/bin/python tests/runtime/aarch64/bits.py' >"$roots/bits.there"
    diff "$roots/bits.here" "$roots/bits.there" || refuse "aarch64 gives other bits than $(uname -m)"
    echo "== $suite: $(wc -l <"$roots/bits.here") hashes are those of $(uname -m)"
done
