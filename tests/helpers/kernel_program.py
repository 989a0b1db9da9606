"""A kernel as a program of its own, which reads its arguments from a file: for compilers and processors of other kinds."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lineside.runtime.kernels.host_build import FLAGS, write_sources
from lineside.runtime.kernels.kernel import Kernel, Launch

Array = npt.NDArray[Any]

MAIN = """
#include <cstdio>
#include <cstdlib>
#include <vector>
// The job: six sizes, shared memory, numbers of buffers, arguments and inner pointers; each buffer's old address, its bytes
// and those bytes; for each argument whether it is a pointer, and its value; for each inner pointer its buffer and place.
// With a second word, the buffers are written there at the end.
struct Buffer {
  uint64_t old, bytes;
  char* here;
};
static std::vector<Buffer> buffers;

static uint64_t moved(uint64_t old) {
  for (const Buffer& buffer : buffers) {
    if (old - buffer.old < buffer.bytes) return reinterpret_cast<uint64_t>(buffer.here) + (old - buffer.old);
  }
  if (old) exit(93);
  return 0;
}

int main(int words, char** word) {
  FILE* job = fopen(word[1], "rb");
  unsigned sizes[10];
  if (!job || fread(sizes, 4, 10, job) != 10) return 90;
  for (unsigned i = 0; i < sizes[7]; ++i) {
    Buffer buffer;
    if (fread(&buffer, 8, 2, job) != 2) return 91;
    buffer.here = static_cast<char*>(malloc(buffer.bytes));
    if (fread(buffer.here, 1, buffer.bytes, job) != buffer.bytes) return 91;
    buffers.push_back(buffer);
  }
  std::vector<uint64_t> values(sizes[8] + 1);
  for (unsigned i = 0; i < sizes[8]; ++i) {
    uint64_t argument[2];
    if (fread(argument, 8, 2, job) != 2) return 92;
    values[i] = argument[0] ? moved(argument[1]) : argument[1];
  }
  for (unsigned i = 0; i < sizes[9]; ++i) {
    uint64_t place[2], old;
    if (fread(place, 8, 2, job) != 2) return 92;
    char* at = buffers[place[0]].here + place[1];
    memcpy(&old, at, 8);
    old = moved(old);
    memcpy(at, &old, 8);
  }
  const int status = lineside_launch(sizes, sizes[6], values.data());
  if (status || words < 3) return status;
  FILE* out = fopen(word[2], "wb");
  for (const Buffer& buffer : buffers) fwrite(buffer.here, 1, buffer.bytes, out);
  return fclose(out);
}
"""


def build_program(kernel: Kernel, folder: Path, compiler: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Compiles ``program`` in an empty folder; the compiler's answer."""
    main = write_sources(kernel, folder)
    main.write_text(main.read_text() + MAIN)
    command = [compiler, *FLAGS, *flags, "-I.", "-o", "program", main.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def job_of(launch: Launch, memory: Sequence[Array], pointers: Sequence[tuple[int, int]] = ()) -> bytes:
    """What the program reads.

    Args:
        launch: With addresses within the arrays.
        memory: All arrays that the kernel reads or writes; they are copied.
        pointers: Where an array itself holds an address within another: its number and the place in bytes.
    """
    kinds = [parameter.kind for parameter in launch.kernel.parameters]
    words = [struct.pack("<10I", *launch.grid, *launch.block, launch.shared, len(memory), len(kinds), len(pointers))]
    for array in memory:
        assert array.nbytes
        words += [struct.pack("<QQ", array.ctypes.data, array.nbytes), array.tobytes()]
    for kind, value in zip(kinds, launch.arguments, strict=True):
        forms = {"float": "<Qf4x", "int": "<Qi4x", "pointer": "<QQ"}
        words.append(struct.pack(forms[kind], kind == "pointer", value))
    words += [struct.pack("<QQ", *place) for place in pointers]
    return b"".join(words)
