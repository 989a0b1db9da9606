#!/bin/sh
# Installs Lineside where TensorRT and CUDA are the system's own: JetPack, or NVIDIA's TensorRT image. The steps of the GPU
# Dockerfiles, which can be run by themselves, as root:
#   sh docker/install_gpu.sh build SOURCE TARGET CUDA   compiles SOURCE into the environment TARGET, for CUDA 12 or 13
#   sh docker/install_gpu.sh check TARGET               says what TARGET finds of TensorRT and CUDA; a GPU is not needed
#   sh docker/install_gpu.sh run DATA                   what TARGET needs beside, and a user who owns DATA
set -eu
export DEBIAN_FRONTEND=noninteractive

packages() {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    apt-get clean
    rm -rf /var/lib/apt/lists/*
}

usage() {
    sed -n '4,6s/^# */usage: /p' "$0" >&2
    exit 2
}

case ${1:-}-$# in
build-4)
    source=$2 target=$3
    case $4 in
    12) bindings="cuda-bindings>=12.6,<13" ;;
    13) bindings="cuda-bindings>=13,<14" ;;
    *) usage ;;
    esac
    packages python3 python3-dev python3-venv g++
    # TensorRT's Python module is a package of the system: the environment has to see it.
    python3 -m venv --system-site-packages "$target"
    "$target/bin/pip" install -q --no-cache-dir "$source[cpu,station]" "$bindings"
    ;;
check-2)
    "$2/bin/python" - <<'END_OF_PYTHON'
import ctypes
import importlib.metadata
import importlib.util

import lineside.runtime.segmenter  # noqa: F401

print("lineside", importlib.metadata.version("lineside"))
print("cuda-bindings", importlib.metadata.version("cuda-bindings"))
found = importlib.util.find_spec("tensorrt")  # not imported: without a driver its first use may end the process
print("tensorrt", found.origin if found else "is not here: apt-get install python3-libnvinfer, or NVIDIA's image")
for names in (("libnvinfer.so.11", "libnvinfer.so.10"), ("libnvrtc.so.13", "libnvrtc.so.12"), ("libcuda.so.1",)):
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        print(name)
        break
    else:
        print(names[0], "is not here")
END_OF_PYTHON
    ;;
run-2)
    data=$2
    packages python3 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    # On a Jetson the GPU belongs to these groups.
    for group in video render; do groupadd --force "$group"; done
    useradd --create-home --shell /usr/sbin/nologin --groups video,render lineside
    mkdir -p "$data"
    chown -R lineside:lineside "$data"
    ;;
*) usage ;;
esac
