#!/bin/sh
# Installs Lineside on a bare Debian 12 or newer; the steps of desktop.Dockerfile, which can be run by themselves, as root:
#   sh docker/install.sh build SOURCE TARGET   compiles SOURCE into the virtual environment TARGET
#   sh docker/install.sh run DATA              what TARGET needs on a machine without compilers, and a user who owns DATA
set -eu
export DEBIAN_FRONTEND=noninteractive

packages() {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    apt-get clean
    rm -rf /var/lib/apt/lists/*
}

case ${1:-} in
build)
    source=$2 target=$3
    packages python3 python3-dev python3-venv g++
    python3 -m venv "$target"
    "$target/bin/pip" install -q --no-cache-dir "$source[cpu,station]"
    # The environment is done: nothing will be installed into it again.
    "$target/bin/pip" uninstall -q -y setuptools pip
    ;;
run)
    data=$2
    packages python3
    useradd --create-home --shell /usr/sbin/nologin lineside
    mkdir -p "$data"
    chown -R lineside:lineside "$data"
    ;;
*)
    sed -n '3,4s/^# */usage: /p' "$0" >&2
    exit 2
    ;;
esac
