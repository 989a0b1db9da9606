#!/bin/sh
# The system step: looks for what Python packages cannot bring, and installs it where that is allowed
# (Debian or Ubuntu, and root or sudo without a password). usage: sh scripts/system.sh demo|test
# Looks for abilities, not for package names: a compiler from elsewhere is as good as Debian's.
set -eu
cd "$(dirname "$0")/.."
for_what=${1:-demo}

has() { # a command, or a file by its whole name, with a * where the name of the processor family stands
    case $1 in
    *'*'*) set -- $1 && [ -e "$1" ] ;;
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}
samples=${LINESIDE_SAMPLES:-/usr/share/doc/opencv-doc/examples/data}
libraries=${LINESIDE_LIBRARIES:-/usr/lib}

has_headers() {
    python=$(sh scripts/find_python.sh 2>/dev/null) || return 1
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

# Packages whose ability is missing: the needed ones, and those without which some tests skip.
needed=
sh scripts/find_python.sh >/dev/null 2>&1 || needed="$needed python3 python3-venv"
has_headers || needed="$needed python3-dev"
has g++ || has clang++ || has c++ || needed="$needed g++"
has make || needed="$needed make"
wished=
wish() { # command or file, Debian package, what skips without it
    has "$1" || wished="$wished $2"
    wishes="$wishes$1:$2:$3
"
}
wishes=
if [ "$for_what" = test ]; then
    wish git git "the tests that read the checkout"
    wish ffmpeg ffmpeg "tests that check videos"
    has google-chrome || wish chromium chromium "the tests of the page"
    wish aarch64-linux-gnu-g++ g++-aarch64-linux-gnu "the native core on a Jetson's processor family"
    wish qemu-aarch64-static qemu-user-static "the native core on a Jetson's processor family"
    wish "$samples/vtest.avi" opencv-doc "frames of real videos in the parity gate"
    gst="$libraries/*/gstreamer-1.0"
    wish "$gst/libgstapp.so" gstreamer1.0-plugins-base "the tests of sources through GStreamer"
    wish "$gst/libgstrtsp.so" gstreamer1.0-plugins-good "the tests of network cameras and of video files through GStreamer"
    wish "$gst/libgstvideoparsersbad.so" gstreamer1.0-plugins-bad "the tests of H.264 through GStreamer"
    wish "$gst/libgstx264.so" gstreamer1.0-plugins-ugly "the tests of network cameras with H.264"
    wish "$gst/libgstlibav.so" gstreamer1.0-libav "the tests of H.264 through GStreamer"
    wish "$libraries/*/girepository-1.0/GstRtspServer-1.0.typelib" gir1.2-gst-rtsp-server-1.0 "the tests of network cameras"
    wish "$libraries/python3/dist-packages/gi/__init__.py" python3-gi "the tests of network cameras"
    wish "$libraries/*/libaravis-0.8.so.0" libaravis-0.8-0 "the tests of industrial cameras"
fi
[ -n "$needed$wished" ] || exit 0

install=
if [ "${LINESIDE_SYSTEM:-yes}" != no ] && has apt-get; then
    if [ "$(id -u)" = 0 ]; then
        install="env DEBIAN_FRONTEND=noninteractive apt-get"
    elif has sudo && sudo -n true 2>/dev/null; then
        install="sudo -n env DEBIAN_FRONTEND=noninteractive apt-get"
    fi
fi
if [ -n "$install" ]; then
    echo "installing Debian packages:$needed$wished"
    $install update -qq || true
    # One by one: a package that this distribution does not have must not hold up the others.
    for package in $needed $wished; do
        # Where documentation is never unpacked (small container images), the videos are wanted all the same.
        $install install -y -qq --no-install-recommends -o "DPkg::Options::=--path-include=/usr/share/doc/opencv-doc/*" "$package" >/dev/null || echo "  could not install $package" >&2
    done
fi

failed=
for package in $needed; do
    case $package in
    python3 | python3-venv) sh scripts/find_python.sh >/dev/null 2>&1 || failed="$failed $package" ;;
    python3-dev) has_headers || failed="$failed $package" ;;
    g++) has g++ || has clang++ || has c++ || failed="$failed $package" ;;
    *) has "$package" || failed="$failed $package" ;;
    esac
done
printf %s "$wishes" | while IFS=: read -r command package what; do
    has "$command" || echo "note: no $command (Debian: $package): skipped: $what." >&2
done
if [ -n "$failed" ]; then
    echo "error: building Lineside needs these Debian packages, and they may not be installed from here:$failed" >&2
    echo "  Install them (apt-get install$failed), or a compiler and Python headers of your own, and try again." >&2
    exit 1
fi
