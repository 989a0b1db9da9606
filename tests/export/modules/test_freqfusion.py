"""FreqFusion: the same as plain numpy, with every hyper-parameter that a reference case may carry."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.random_weights import picture
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer, tolerance
from lineside.export.modules.freqfusion import FreqFusion, hamming2d, kernel_normalizer
from lineside.export.modules.resample import LocalSimilaritySampler, local_similarity
from lineside.runtime.errors import BadOption
from oracle import freqfusion as oracle
from oracle import op_carafe

Arrays = Mapping[str, np.ndarray]


def outcome(inputs: Arrays, state: Arrays, wanted: Arrays, **hyper: Any) -> tuple[float, float]:
    """Largest relative error of what the checker gives for a case made here, and what is allowed."""

    def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    case = Case("freqfusion", "any name", hyper, tensors(inputs), tensors(state), tensors(wanted), "", {})
    found = answer(case)
    return max(relative_error(found[name], case.expected[name]) for name in wanted), tolerance(case)


def filled(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Gives every parameter seeded numbers under which all parts matter; returns the state by name."""
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan = max(1, int(np.prod(parameter.shape[1:])))
            values = rng.normal(0, 1.5 / np.sqrt(fan) if parameter.ndim > 1 else 0.5, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values + (name.split(".")[-2:] in (["norm_hr", "weight"],))))
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


HYPERS: list[dict[str, Any]] = [
    {},
    {"carafe_border": "reflect"},
    {"lowpass_kernel": 3, "highpass_kernel": 5},
    {"lowpass_kernel": 7, "highpass_kernel": 1, "hr_residual": False},
    {"use_high_pass": False},
    {"use_high_pass": False, "semi_conv": False, "hamming_window": False},
    {"use_high_pass": False, "comp_feat_upsample": False, "carafe_border": "reflect"},
    {"use_low_pass": False},
    {"hr_residual": False},
    {"hamming_window": False},
    {"comp_feat_upsample": False, "hr_residual": False},
    {"semi_conv": False},
    {"semi_conv": False, "comp_feat_upsample": False, "carafe_border": "reflect", "highpass_kernel": 5},
    {"feature_resample": True, "compressed_channels": 16},
    {"feature_resample": True, "compressed_channels": 24, "feature_resample_group": 2},
    {"feature_resample": True, "feature_resample_norm": False, "feature_resample_group": 8},
    {"feature_resample": True, "semi_conv": False, "compressed_channels": 8, "feature_resample_group": 1},
]


@pytest.mark.parametrize("hyper", HYPERS, ids=str)
def test_fusion(hyper: dict[str, Any]) -> None:
    hyper = {"compressed_channels": 6} | hyper
    options = {key: value for key, value in hyper.items() if key != "carafe_border"}
    state = filled(FreqFusion(5, 8, **options))
    inputs = {"hr": picture(2, 5, 10, 8), "lr": picture(2, 8, 5, 4, seed=2)}
    wanted = oracle.fused(inputs["hr"], inputs["lr"], state, hyper)
    error, allowed = outcome(inputs, state, wanted, hr_channels=5, lr_channels=8, **hyper)
    assert error <= allowed == (5e-5 if hyper.get("feature_resample") else 1e-5)


def test_a_missing_hyper_parameter_has_its_usual_value() -> None:
    state = filled(FreqFusion(3, 4))
    assert state["content_encoder.weight"].shape == (25, 64, 3, 3)
    inputs = {"hr": picture(1, 3, 6, 6), "lr": picture(1, 4, 3, 3, seed=2)}
    assert outcome(inputs, state, oracle.fused(inputs["hr"], inputs["lr"], state, {}))[0] <= 1e-5


def test_constants_may_be_missing_from_the_parameters_and_parameters_may_not() -> None:
    state = filled(FreqFusion(3, 4, 8, feature_resample=True))
    inputs = {"hr": picture(1, 3, 6, 6), "lr": picture(1, 4, 3, 3, seed=2)}
    hyper = {"compressed_channels": 8, "feature_resample": True}
    wanted = oracle.fused(inputs["hr"], inputs["lr"], state, hyper)
    few = {name: array for name, array in state.items() if "hamming" not in name and "init_pos" not in name}
    assert outcome(inputs, few, wanted, **hyper)[0] <= 5e-5
    del few["content_encoder2.bias"]
    with pytest.raises(NoHandler, match=r"content_encoder2\.bias"):
        outcome(inputs, few, wanted, **hyper)


@pytest.mark.parametrize(("kernel", "up", "group"), [(3, 1, 1), (5, 2, 1), (3, 2, 2), (7, 1, 4), (1, 3, 1), (5, 4, 2)])
def test_reassembly(kernel: int, up: int, group: int) -> None:
    x, mask = picture(2, 4, 5, 6), picture(2, group * kernel**2, 5 * up, 6 * up, seed=2)
    wanted = {
        f"y_{border}_pad": op_carafe.reassembled(x, mask, kernel, up, group, border) for border in ("zero", "reflect")
    }
    error, allowed = outcome({"x": x, "mask": mask}, {}, wanted, kernel_size=kernel, up=up, group=group)
    assert error <= allowed == 1e-5
    for border in ("zero", "reflect"):
        one = {"y": wanted[f"y_{border}_pad"]}
        hyper = {"kernel_size": kernel, "up": up, "group": group, "carafe_border": border}
        assert outcome({"x": x, "mask": mask}, {}, one, **hyper)[0] <= 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (1, 4), (7, 7), (2, 9)])
def test_windows(rows: int, columns: int) -> None:
    assert outcome({}, {}, {"w": np.outer(np.hamming(rows), np.hamming(columns))}, M=rows, N=columns)[0] <= 1e-6
    assert hamming2d(rows, columns).dtype == torch.float32


@pytest.mark.parametrize("hyper", [{}, {"k": 5, "dilation": 1}, {"k": 3, "dilation": 4}])
def test_similarity(hyper: dict[str, int]) -> None:
    x = picture(2, 5, 7, 6)
    wanted = oracle.similarity(x.astype(float), hyper.get("k", 3), hyper.get("dilation", 2))
    assert outcome({"x": x}, {}, {"y": wanted}, **hyper)[0] <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_similarity_to_nothing_is_zero_in_every_precision(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 3, 4, 4, dtype=dtype)
    x[:, :, 0, 0] = 1
    assert torch.equal(local_similarity(x), torch.zeros(1, 8, 4, 4, dtype=dtype))


def test_similarity_of_nothing_is_zero() -> None:
    x = np.zeros((1, 3, 4, 4), np.float32)
    assert outcome({"x": x}, {}, {"y": np.zeros((1, 8, 4, 4))})[0] == 0


@given(st.integers(1, 3), st.integers(1, 5), st.floats(-30, 30))
@settings(max_examples=30, deadline=None)
def test_kernels_are_positive_and_add_up_to_one(groups: int, k: int, shift: float) -> None:
    mask = torch.from_numpy(picture(2, groups * k * k, 3, 4)) * 5 + shift
    kernels = kernel_normalizer(mask, hamming2d(k, k), groups).reshape(2, groups, k * k, 3, 4)
    assert float(kernels.min()) >= 0
    torch.testing.assert_close(kernels.sum(2), torch.ones(2, groups, 3, 4))
    wanted = oracle.normalised(mask.reshape(2 * groups, k * k, 3, 4).double().numpy(), oracle.window(k, k))
    np.testing.assert_allclose(kernels.reshape(wanted.shape), wanted, atol=2e-6)


def test_what_nothing_here_computes() -> None:
    with pytest.raises(NoHandler, match="inputs z"):
        outcome({"z": np.ones(3)}, {}, {"y": np.ones(3)})
    with pytest.raises(NoHandler, match="border 'wrap'"):
        outcome({"x": picture(1, 1, 3, 3), "mask": picture(1, 9, 3, 3)}, {}, {"y": np.ones(3)}, carafe_border="wrap")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("border", ["zero", "reflect"])
def test_every_parameter_learns_from_its_start(training: bool, border: Any) -> None:
    module = FreqFusion(6, 8, 16, feature_resample=True, border=border).train(training)
    _, hr, lr = module(torch.from_numpy(picture(2, 6, 12, 8)), torch.from_numpy(picture(2, 8, 6, 4, seed=2)))
    ((hr**2).mean() + (lr**2).mean()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_gradients_are_those_of_the_formula() -> None:
    module = FreqFusion(2, 2, 8, feature_resample=True, feature_resample_group=1).double()
    filled(module)
    hr, lr = (torch.from_numpy(picture(1, 2, *size)).double().requires_grad_() for size in ((6, 4), (3, 2)))
    assert torch.autograd.gradcheck(lambda *maps: module(*maps)[1:], (hr, lr), eps=1e-6, atol=1e-5)


def test_start_is_a_plain_filter() -> None:
    module = FreqFusion(3, 4, 8)
    flat = torch.ones(1, 4, 6, 6)
    _, _, lr = module(torch.from_numpy(picture(1, 3, 12, 12)), flat)
    torch.testing.assert_close(lr[:, :, 4:8, 4:8], torch.ones(1, 4, 4, 4))


def test_resampler_leaves_a_map_alone_that_nothing_moves() -> None:
    sampler = LocalSimilaritySampler(8, 4)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter.zero_()
    features = torch.from_numpy(picture(2, 4, 6, 8))
    found = sampler(torch.from_numpy(picture(2, 8, 6, 8)), torch.from_numpy(picture(2, 8, 3, 4)), features)
    torch.testing.assert_close(found, features)


def test_copies_and_pickles() -> None:
    module = FreqFusion(3, 4, 8, feature_resample=True)
    maps = torch.from_numpy(picture(1, 3, 8, 8)), torch.from_numpy(picture(1, 4, 4, 4))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert all(torch.equal(a, b) for a, b in zip(twin(*maps), module(*maps), strict=True))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FreqFusion(0, 4), "at least 1"),
        (lambda: FreqFusion(4, 4, lowpass_kernel=4), "odd numbers"),
        (lambda: FreqFusion(4, 4, border="wrap"), "zero and reflect"),  # type: ignore[arg-type]
        (lambda: FreqFusion(4, 6, 8, feature_resample=True), "divisor"),
        (lambda: FreqFusion(4, 4, 4, feature_resample=True), "multiple of 8"),
        (lambda: FreqFusion(2, 2)(torch.ones(1, 2, 7, 8), torch.ones(1, 2, 4, 4)), "half its size"),
    ],
)
def test_wrong_sizes(make: Any, said: str) -> None:
    with pytest.raises(BadOption, match=said):
        make()
