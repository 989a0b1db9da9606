"""The kernels read no byte beside a picture and beside the engine's outputs: both end at a page that kills who reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FENCED = r'''
import ctypes, mmap, random, sys
import numpy as np
from helpers.frame_steps import Bench, address_of, same
from lineside.runtime import Letterbox, decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.yuv import Yuv
from oracle.heads import outputs_of

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
held = []

class Fence:
    """Memory between two pages that kill."""

    def __init__(self, pages):
        self.bytes = pages * PAGE
        self.area = mmap.mmap(-1, self.bytes + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.area))
        for fence in (start, start + PAGE + self.bytes):
            assert libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0) == 0
        self.memory = np.frombuffer(self.area, np.uint8)[PAGE : PAGE + self.bytes]

    def copy(self, array, at_end):
        """A copy of an array that ends, or begins, at a fence."""
        array = np.ascontiguousarray(array)
        first = self.bytes - array.nbytes if at_end else 0
        into = self.memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
        into[...] = array
        return into

chance = random.Random(1)
if "bite" in sys.argv:
    print(np.frombuffer(Fence(1).area, np.uint8)[2 * PAGE])
    sys.exit(0)
if "pictures" in sys.argv:
    fences = [Fence(40) for _ in range(3)]
    for turn in range(50):
        size = chance.randint(1, 60), chance.randint(1, 200)
        inner = chance.choice(((64, 64), (96, 32), (32, 160)))
        head = HeadContract(kind="flat", classes=1, coefficients=0, input_size=inner)
        stage, wanted = Preprocessor(inner), np.empty((3, *inner), np.float32)
        noise = np.random.default_rng(turn)
        for at_end in (True, False):
            for shape in (size, (*size, 3)):
                frame = fences[0].copy(noise.integers(0, 256, shape, dtype=np.uint8), at_end)
                form = Form("grey" if len(shape) == 2 else "bgr", size)
                made = Bench(head, form).letterbox(Source.packed(address_of(frame), frame.strides))
                stage.prepare(frame, wanted)
                assert np.array_equal(made, wanted)
            half = (size[0] + 1) // 2, (size[1] + 1) // 2
            parts = [
                fence.copy(noise.integers(0, 256, shape, dtype=np.uint8), at_end)
                for fence, shape in zip(fences, (size, half, half))
            ]
            rows, places = tuple(p.strides[0] for p in parts), tuple(address_of(p) for p in parts)
            made = Bench(head, Form("nv12", size, "bt709", "full")).letterbox(Source.planar(places, rows))
            stage.prepare(Yuv("I420", tuple(parts), "bt709", "full"), wanted)
            assert np.array_equal(made, wanted)
if "outputs" in sys.argv:
    for kind in ("levels", "flat", "end2end"):
        head = HeadContract(kind=kind, classes=3, coefficients=2, input_size=(96, 64))
        given = outputs_of(np.random.default_rng(2), head)
        for at_end in (True, False):
            outputs = [Fence(array.nbytes // PAGE + 1).copy(array, at_end) for array in given]
            bench = Bench(head, Form("bgr", (110, 200)), outputs)
            for masks in ("native", "proto"):
                wanted = decode(given, head, Letterbox.fit((110, 200), (96, 64)), conf=0.01, iou=1.0, masks=masks)
                same(bench.decode(conf=0.01, iou=1.0, masks=masks), wanted)
print("kept inside")
'''

TESTS = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect of the C library")


def fenced(word: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", FENCED, word]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


def test_the_fence_kills() -> None:
    assert fenced("bite").returncode == -signal.SIGSEGV


@pytest.mark.slow
@pytest.mark.parametrize("what", ["pictures", "outputs"])
def test_no_byte_outside_is_read(what: str) -> None:
    answer = fenced(what)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "kept inside\n"
