# Bare Debian roots for the scripts beside this file, which source it: debootstrap makes them, chroot enters them.
# Everything happens in a mount and process namespace of its own: whatever ends the script, no mount and no process
# is left behind. Root only.
#   DEBIAN_MIRROR   where the packages come from           [default: http://deb.debian.org/debian]
#   KEEP            folder that holds the roots for the next time [default: a temporary one, removed at the end]
#   SHOW            folders of this machine to be seen in the root, read-only; pip's settings that name such
#                   folders (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL, PIP_CONSTRAINT) hold there only then
# The certificates in PIP_CERT or SSL_CERT_FILE, where they are set, are copied in.
# shellcheck shell=sh

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
passed="PIP_INDEX_URL PIP_DEFAULT_TIMEOUT http_proxy https_proxy no_proxy${SHOW:+ PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_CONSTRAINT}"

refuse() {
    echo "error: $1" >&2
    exit 2
}

roots_begin() { # ARGUMENTS OF THE SCRIPT: checks what is needed and starts the script anew in its own namespace
    if [ -z "${LINESIDE_NAMESPACE:-}" ]; then
        [ "$(id -u)" = 0 ] || refuse "a Debian root can only be made by root: sudo sh $0"
        command -v debootstrap >/dev/null || refuse "debootstrap is missing: apt-get install debootstrap"
        unshare --mount --pid --fork true 2>/dev/null || refuse "this machine allows no mount namespace (inside a container?)"
        export LINESIDE_NAMESPACE=1
        exec unshare --mount --propagation private --pid --mount-proc --fork --kill-child sh "$0" "$@"
    fi
    trap 'exit 130' INT TERM HUP
    if [ -n "${KEEP:-}" ]; then
        mkdir -p "$KEEP"
        roots=$(cd "$KEEP" && pwd)
        trap 'emulator_end' EXIT
    else
        roots=$(mktemp -d "${TMPDIR:-/tmp}/lineside-roots.XXXXXX")
        trap 'emulator_end; roots_remove' EXIT
    fi
}

unmount_under() { # FOLDER
    sed -n "s#^[^ ]* \($1/[^ ]*\) .*#\1#p" /proc/mounts | sort -r | while read -r place; do umount -l "$place"; done
}

roots_remove() {
    unmount_under "$roots"
    rm -rf --one-file-system "$roots"
}

emulator() { # lets this machine run aarch64 programs, unless it does so already
    [ "$(uname -m)" != aarch64 ] || return 0
    misc=/proc/sys/fs/binfmt_misc
    [ -e "$misc/register" ] || mount -t binfmt_misc none "$misc" || refuse "the kernel has no binfmt_misc"
    ! grep -qsl 'interpreter .*qemu-aarch64' "$misc"/* || return 0
    qemu=$(command -v qemu-aarch64-static) || refuse "the emulator is missing: apt-get install qemu-user-static"
    # ELF, 64 bit, little endian, machine 183; F: the kernel keeps the emulator open, so that it works inside the root.
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":lineside-aarch64:M::$magic:$mask:$qemu:F" >"$misc/register"
    emulated=yes
}

emulator_end() {
    [ -z "${emulated:-}" ] || echo -1 >/proc/sys/fs/binfmt_misc/lineside-aarch64 2>/dev/null || true
}

root_base() { # SUITE ARCHITECTURE: a bare Debian, downloaded once; its folder goes to $base
    base=$roots/bare-$1-$2
    [ ! -e "$base.done" ] || return 0
    echo "== debootstrap: Debian $1 ($2)"
    rm -rf --one-file-system "$base"
    debootstrap --arch="$2" --variant=minbase "$1" "$base" "$mirror" >"$base.log" 2>&1 ||
        { tail -5 "$base.log" >&2; refuse "debootstrap failed"; }
    chroot "$base" apt-get clean
    echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/not-for-keeps"
    touch "$base.done"
}

root_make() { # NAME SUITE ARCHITECTURE: makes the root $roots/NAME, or finds it there; its folder goes to $root
    root=$roots/$1
    if [ ! -e "$root.done" ]; then
        root_base "$2" "$3"
        rm -rf --one-file-system "$root"
        cp -a "$base" "$root"
        touch "$root.done"
    fi
    root_network "$root"
    mount -t proc proc "$root/proc"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    for shown in ${SHOW:-}; do
        mkdir -p "$root$shown"
        mount --bind -o ro "$shown" "$root$shown"
    done
}

root_forget() { # NAME: the next root_make makes it anew
    unmount_under "$roots/$1"
    rm -rf --one-file-system "${roots:?}/$1" "$roots/$1.done"
}

root_network() { # ROOT: name servers and certificates of this machine
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
    if [ -f "$certificates" ]; then
        mkdir -p "$1/etc/ssl"
        cp "$certificates" "$1/etc/ssl/of-the-host.pem"
        copied="PIP_CERT=/etc/ssl/of-the-host.pem SSL_CERT_FILE=/etc/ssl/of-the-host.pem"
    fi
}

in_root() { # ROOT COMMAND...: runs a command there with an environment of its own
    inside=$1
    shift
    for name in $passed; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || set -- "$name=$value" "$@"
    done
    # shellcheck disable=SC2086
    env -i /usr/sbin/chroot "$inside" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${copied:-} "$@"
}

root_clone() { # ROOT FOLDER: a clone of HEAD, owned by the root's own root
    rm -rf --one-file-system "$1$2"
    git clone --quiet . "$1$2"
}

seconds_since() { # START, from date +%s
    echo "$(($(date +%s) - $1)) s"
}
