"""A kernel as a program of its own, which reads its arguments from a file: for compilers and processors of other kinds."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.kernels.host_build import FLAGS, write_sources
from lineside.runtime.kernels.kernel import Kernel

Arguments = Sequence[npt.NDArray[Any] | float]
Sides = tuple[int, int, int]

MAIN = """
#include <cstdio>
#include <cstdlib>
#include <vector>
// The job: six sizes, shared memory, number of arguments; for each its bytes and those bytes, or 0 and a value of eight.
// With a second word, the arguments' memory is written there at the end.
int main(int words, char** word) {
  FILE* job = fopen(word[1], "rb");
  unsigned sizes[8];
  if (!job || fread(sizes, 4, 8, job) != 8) return 90;
  std::vector<uint64_t> values(sizes[7] + 1), bytes(sizes[7] + 1);
  for (unsigned i = 0; i < sizes[7]; ++i) {
    if (fread(&bytes[i], 8, 1, job) != 1) return 91;
    void* into = bytes[i] ? malloc(bytes[i]) : &values[i];
    if (bytes[i]) values[i] = reinterpret_cast<uint64_t>(into);
    const size_t wanted = bytes[i] ? bytes[i] : 8;
    if (fread(into, 1, wanted, job) != wanted) return 92;
  }
  const int status = lineside_launch(sizes, sizes[6], values.data());
  if (status || words < 3) return status;
  FILE* out = fopen(word[2], "wb");
  for (unsigned i = 0; i < sizes[7]; ++i) {
    if (bytes[i]) fwrite(reinterpret_cast<const void*>(values[i]), 1, bytes[i], out);
  }
  return fclose(out);
}
"""


def build_program(kernel: Kernel, folder: Path, compiler: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Compiles ``program`` in an empty folder; the compiler's answer."""
    main = write_sources(kernel, folder)
    main.write_text(main.read_text() + MAIN)
    command = [compiler, *FLAGS, *flags, "-I.", "-o", "program", main.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def job_of(kernel: Kernel, grid: Sides, block: Sides, arguments: Arguments, shared: int = 0) -> bytes:
    """What the program reads: an array for each pointer, a number for the rest."""
    words = [struct.pack("<8I", *grid, *block, shared, len(arguments))]
    for parameter, value in zip(kernel.parameters, arguments, strict=True):
        if isinstance(value, np.ndarray):
            assert parameter.kind == "pointer"
            assert value.nbytes
            words += [struct.pack("<Q", value.nbytes), value.tobytes()]
        else:
            kinds = {"float": "<Qf4x", "int": "<Qi4x", "pointer": "<QQ"}
            words.append(struct.pack(kinds[parameter.kind], 0, value))
    return b"".join(words)
