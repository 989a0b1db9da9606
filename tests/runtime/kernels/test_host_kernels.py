"""Kernels on the processor: blocks, barriers, shared memory, atomics and numbers as on a GPU."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helpers.example_kernels import BLOCK_SUM, EARLY, NARROW, PLACES, ROUNDED, UNSET, WHOLE, WIDEN
from helpers.kernel_arrays import launch_of, run_on_host
from helpers.threads import together
from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.host import Execution, host_function
from lineside.runtime.kernels.kernel import Kernel, Parameter


def block_sums(values: np.ndarray, threads: int, scale: float, execution: Execution = "fibres") -> np.ndarray:
    blocks = -(-len(values) // threads)
    out = np.full((blocks, 2), np.nan, np.float32)
    run_on_host(BLOCK_SUM, blocks, threads, values, out, len(values), scale, shared=4 * threads, execution=execution)
    return out


@given(st.integers(1, 700), st.sampled_from([1, 2, 32, 64, 256, 1024]))
@settings(max_examples=25)
def test_a_block_shares_memory_and_waits_for_each_other(count: int, threads: int) -> None:
    values = np.arange(1, count + 1, dtype=np.float32)
    out = block_sums(values, threads, 0.5)
    padded = np.pad(values, (0, -count % threads)).reshape(-1, threads)
    assert np.array_equal(out[:, 0], padded.sum(1) * 0.5)
    assert np.all(out[:, 1] == threads)


def test_turns_and_threads_give_the_same_bits() -> None:
    values = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    assert np.array_equal(block_sums(values, 32, 1.7), block_sums(values, 32, 1.7, "threads"))


def test_a_loop_of_barriers_of_a_full_block_keeps_its_threads_apart() -> None:
    values = np.ones(3 * 1024, np.float32)
    for _ in range(3):
        assert np.all(block_sums(values, 1024, 1.0) == 1024)


@pytest.mark.parametrize("execution", ["fibres", "threads"])
@pytest.mark.parametrize("stay", [1, 2, 31, 64])
def test_threads_that_have_left_count_as_arrived(stay: int, execution: Execution) -> None:
    out = np.zeros(64, np.int32)
    run_on_host(EARLY, 1, 64, out, stay, execution=execution)
    threads = np.arange(64)
    waiting = stay - 1 - threads + 10000 * (stay // 2) + 100000000
    assert np.array_equal(out, np.where(threads >= stay, -1, np.where(threads % 3 == 0, -2, waiting)))


def test_places_of_three_axes_and_atomics() -> None:
    grid, block = (3, 2, 2), (4, 3, 2)
    blocks, threads = 12, 24
    out = np.full(blocks * threads, -1, np.int32)
    total = np.array([0, 0, 10**6, 7], np.uint32)
    run_on_host(PLACES, grid, block, out, total)
    b, t = np.divmod(np.arange(blocks * threads), threads)
    expected = (
        b % 3 + 10 * (b // 3 % 2) + 100 * (b // 6) + 1000 * (t % 4) + 100000 * (t // 4 % 3) + 10000000 * (t // 12)
    )
    assert np.array_equal(out, expected)
    assert list(total) == [sum(range(blocks * threads)), blocks * threads - 1, 0, 0]


def test_atomics_hold_between_threads_of_the_processor() -> None:
    out, total = np.zeros(512, np.int32), np.array([0, 0, 10**6, 7], np.uint32)
    run_on_host(PLACES, 2, 256, out, total, execution="threads")
    assert list(total[:3]) == [sum(range(512)), 511, 0]


def test_every_half_widens_exactly_and_comes_back() -> None:
    bits = np.arange(65536, dtype=np.uint16)
    out, back = np.zeros(65536, np.float32), np.zeros(65536, np.uint16)
    run_on_host(WIDEN, 256, 256, bits, out, back, 65536)
    halves = bits.view(np.float16)
    numbers = ~np.isnan(halves)
    assert np.array_equal(out[numbers].view(np.uint32), halves[numbers].astype(np.float32).view(np.uint32))
    assert np.array_equal(back[numbers], bits[numbers])
    assert np.all(np.isnan(out[~numbers]))
    assert np.all(back[~numbers] == 0x7FFF)  # the one NaN that GPUs write


def narrowed(values: np.ndarray) -> np.ndarray:
    out, back = np.zeros(len(values), np.float32), np.zeros(len(values), np.float16)
    run_on_host(NARROW, -(-len(values) // 256), 256, values, out, back, len(values))
    return back


def test_floats_round_to_the_nearest_half_ties_to_even() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].astype(np.float64)
    ordered = np.unique(finite)
    between = (ordered[:-1] + ordered[1:]) / 2  # exact in float32
    limits = np.array([65519.99, 65520, 65536, 1e30, np.inf, 2.0**-25, 2.0**-26, 1e-40, 0.0], np.float32)
    exact = np.concatenate([finite, between]).astype(np.float32)
    nudged = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf)), limits, -limits]
    values = np.concatenate(nudged).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        expected = values.astype(np.float16)
    assert np.array_equal(narrowed(values).view(np.uint16), expected.view(np.uint16))


@given(arrays.arrays(np.float32, 64, elements=st.floats(width=32, allow_nan=True, allow_subnormal=True)))
@settings(max_examples=50)
def test_any_float_becomes_the_half_that_numpy_makes(values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    found, numbers = narrowed(values), ~np.isnan(values)
    assert np.array_equal(found[numbers].view(np.uint16), expected[numbers].view(np.uint16))
    assert np.all(found[~numbers].view(np.uint16) == 0x7FFF)


def test_floats_become_whole_numbers_as_on_a_gpu() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e10, -1e10, np.nan, np.inf, 2147483520, -2147483648], np.float32)
    nearest, down, cut = (np.zeros(len(values), np.int32) for _ in range(3))
    run_on_host(WHOLE, 1, 32, values, nearest, down, cut, len(values))
    most, least = 2**31 - 1, -(2**31)
    assert list(nearest) == [0, 2, 2, 0, -2, most, least, 0, most, 2147483520, least]
    assert list(down) == [0, 1, 2, -1, -2, most, least, 0, most, 2147483520, least]
    assert list(cut) == [0, 1, 2, 0, -1, most, least, 0, most, 2147483520, least]


def test_nothing_is_fused_that_does_not_say_so() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 4096)).astype(np.float32)
    c = -(a * b)
    plain, fused = np.zeros(4096, np.float32), np.zeros(4096, np.float32)
    run_on_host(ROUNDED, 16, 256, a, b, c, plain, fused, 4096)
    assert np.all(plain == 0)
    exact = a.astype(np.float64) * b - -c.astype(np.float64)  # 48 bits: exact in float64
    assert np.array_equal(fused, exact.astype(np.float32))
    assert np.any(fused != 0)


def test_shared_memory_is_unset_in_every_block() -> None:
    out = np.zeros(6, np.float32)
    run_on_host(UNSET, 3, 1, out, 0, shared=16)
    assert np.all(np.isnan(out))


def test_a_write_beyond_the_dynamic_shared_memory_is_an_error() -> None:
    out = np.zeros(2, np.float32)
    with pytest.raises(EngineFailed, match="beyond the dynamic shared memory"):
        run_on_host(UNSET, 1, 1, out, 1, shared=16)
    run_on_host(UNSET, 1, 1, out, 1, shared=20)


@pytest.mark.parametrize(
    ("grid", "block", "shared", "words"),
    [
        ((0, 1, 1), (32, 1, 1), 0, "grid"),
        ((1, 65536, 1), (1, 1, 1), 0, "grid"),
        ((1, 1, 1), (1025, 1, 1), 0, "threads"),
        ((1, 1, 1), (64, 32, 1), 0, "threads"),
        ((1, 1, 1), (1, 1, 128), 0, "threads"),
        ((1, 1, 1), (0, 1, 1), 0, "threads"),
        ((1, 1, 1), (32, 1, 1), 48 * 1024 - 8, "shared memory beside 16 of its own"),
        ((1, 1, 1), (32, 1, 1), -1, "shared memory"),
    ],
)
def test_what_no_gpu_launches_is_refused(
    grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, words: str
) -> None:
    out = np.zeros(8, np.float32)
    with pytest.raises(EngineFailed, match=words):
        run_on_host(UNSET, grid, block, out, 0, shared=shared)
    run_on_host(UNSET, 1, 1, out, 0, shared=48 * 1024 - 16)


def test_arguments_must_fit_the_parameters() -> None:
    out = np.zeros(8, np.float32)
    good = launch_of(UNSET, 1, 1, out, 0, shared=16)
    function = host_function(UNSET)
    for arguments, words in (
        (good.arguments[:1], "takes 2 arguments and got 1"),
        ((good.arguments[0], 2**33), "beyond.*int of 32 bits"),
        ((0.5, 0), "an address"),
        ((-1, 0), "an address"),
    ):
        with pytest.raises(EngineFailed, match=words):
            function(dataclasses.replace(good, arguments=arguments))


def test_a_declaration_that_the_source_does_not_keep_is_refused() -> None:
    wrong = dataclasses.replace(UNSET, parameters=(*UNSET.parameters[:1], Parameter("beyond", "float")))
    with pytest.raises(EngineFailed, match=r"takes 'pi' and is declared with 'pf'"):
        host_function(wrong)


def test_two_launches_of_one_kernel_at_once_do_not_meet() -> None:
    values = np.random.default_rng(2).integers(0, 100, (4, 4096)).astype(np.float32)

    def work(index: int) -> None:
        for _ in range(10):
            assert np.array_equal(block_sums(values[index], 128, 1.0)[:, 0], values[index].reshape(-1, 128).sum(1))

    assert together([partial(work, index) for index in range(4)]) == []


def test_kernels_that_differ_in_a_macro_are_built_apart_and_share_nothing(tmp_path: Path) -> None:
    source = tmp_path / "scaled.cu"
    source.write_text(
        """
        #include "portable.cuh"
        template <typename T>
        __device__ T& kept() {
          __shared__ T value[4];  // a template's: libraries must not take each other's
          return value[threadIdx.x];
        }
        LINESIDE_KERNEL void scaled(NUMBER* out, NUMBER factor) {
          kept<int>() = FACTOR;
          __syncthreads();
          out[threadIdx.x] = kept<int>() * factor * threadIdx.x;
        }
        """
    )
    found = []
    for number, factor in (("float", 2), ("int", 3)):
        kernel = Kernel(
            "scaled",
            source,
            (Parameter("out", "pointer", f"{number}*"), Parameter("factor", "float" if number == "float" else "int")),
            (("FACTOR", str(factor)), ("NUMBER", number)),
        )
        found.append((host_function(kernel), np.zeros(4, number + "32"), factor))
    for function, out, factor in found:  # both are loaded by now
        function(launch_of(function.kernel, 1, 4, out, 10))
        assert list(out) == [factor * 10 * i for i in range(4)]
