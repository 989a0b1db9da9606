#!/bin/sh
# The runtime's tests on Pythons that no stable Debian has yet: those of Debian unstable, and a free-threaded one, built
# there from Debian's sources.
# usage: sudo sh scripts/newer_root.sh [VERSION ...]   default: 3.14 3.14t; a t at the end: free-threaded
# See debian_root.sh for the environment variables.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian_root.sh
roots_begin "$@"
[ $# != 0 ] || set -- 3.14 3.14t
root_make newer sid "$(dpkg --print-architecture)"
root_clone "$root" /lineside
# A mirror of unstable that stands still for two weeks is good enough.
echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90-lineside"

free_threaded() { # VERSION: compiles Debian's source of it without the GIL into /opt/free
    in_root "$root" test ! -e "/opt/free/bin/python$1t" || return 0
    echo "== building a free-threaded Python $1 from Debian's sources"
    printf 'deb-src %s %s main\n' "$mirror" sid "$mirror" testing >"$root/etc/apt/sources.list.d/sources.list"
    in_root "$root" apt-get update -qq
    in_root "$root" apt-get install -y -qq --no-install-recommends dpkg-dev make pkgconf \
        libssl-dev zlib1g-dev libffi-dev libbz2-dev liblzma-dev libsqlite3-dev libexpat1-dev </dev/null >/dev/null
    in_root "$root" sh -euc "mkdir -p /build; cd /build; mkdir -p source
        apt-get source -qq --download-only python$1/sid || apt-get source -qq --download-only python$1/testing
        tar xf python$1*.orig.tar.* -C source --strip-components 1; cd source
        ./configure -q --disable-gil --prefix=/opt/free --with-ensurepip=install
        make -s -j2; make -s install" </dev/null >"$roots/free.log" 2>&1 || { tail -5 "$roots/free.log" >&2; refuse "the build failed"; }
}

in_root "$root" apt-get update -qq
in_root "$root" apt-get install -y -qq --no-install-recommends g++ ca-certificates </dev/null >/dev/null
pythons=
for version in "$@"; do
    plain=${version%t}
    if [ "$plain" = "$version" ]; then
        in_root "$root" apt-get install -y -qq --no-install-recommends "python$plain-dev" "python$plain-venv" </dev/null >/dev/null
        pythons="$pythons python$plain"
    else
        free_threaded "$plain"
        pythons="$pythons /opt/free/bin/python${plain}t"
    fi
done
# shellcheck disable=SC2086
in_root "$root" sh /lineside/scripts/pythons.sh $pythons </dev/null
