"""The selective scan in all its forms, the reading of maps and SS2D against plain numpy; gradients; strong decay."""

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

from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.selective_scan import SS2D, cross_merge, cross_scan, selective_scan
from lineside.export.ops.scan_forms import FORMS, chunk_length
from oracle import op_selective_scan as oracle

EXACT = 1e-5
KINDS = ("(D, N)", "(B, N, L)", "(B, G, N, L)")

each_form = pytest.mark.parametrize("form", FORMS)


def tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}


def case_error(inputs: Mapping[str, Any], params: Mapping[str, Any], wanted: Mapping[str, Any], **hyper: Any) -> float:
    """Largest relative error of what the checker gives for a case made here."""
    case = Case("selective_scan", "any name", hyper, tensors(inputs), tensors(params), tensors(wanted), "", {})
    found = answer(case)
    return max(relative_error(found[name], case.expected[name]) for name in wanted)


def scan_inputs(
    seed: int,
    batch: int = 1,
    channels: int = 4,
    states: int = 1,
    length: int = 9,
    kinds: tuple[str, str] = (KINDS[2], KINDS[2]),
    groups: tuple[int, int] = (2, 2),
    strength: float = 1.0,
    optional: tuple[str, ...] = ("D", "z", "delta_bias"),
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    sides = {KINDS[0]: (channels, states), KINDS[1]: (batch, states, length)}
    arrays = {name: rng.standard_normal((batch, channels, length)) for name in ("u", "delta")}
    arrays["A"] = -strength * np.exp(rng.standard_normal((channels, states)) / 2)
    for name, kind, number in zip("BC", kinds, groups, strict=True):
        arrays[name] = rng.standard_normal(sides.get(kind, (batch, number, states, length)))
    more = {"D": (channels,), "z": (batch, channels, length), "delta_bias": (channels,)}
    arrays |= {name: rng.standard_normal(more[name]) for name in more if name in optional}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def run(arrays: Mapping[str, Any], softplus: bool, form: str) -> list[torch.Tensor]:
    given_ = tensors(arrays)
    main = [given_[name] for name in ("u", "delta", "A", "B", "C")]
    more = [given_.get(name) for name in ("D", "z", "delta_bias")]
    return list(selective_scan(*main, *more, softplus, return_last_state=True, form=form))


def wanted_of(arrays: Mapping[str, Any], softplus: bool) -> list[np.ndarray]:
    main = [arrays[name] for name in ("u", "delta", "A", "B", "C")]
    return list(oracle.selective_scan(*main, *(arrays.get(name) for name in ("D", "z", "delta_bias")), softplus))


@given(
    seed=st.integers(0, 999),
    batch=st.integers(1, 2),
    length=st.integers(1, 40),
    states=st.sampled_from([1, 2, 5]),
    channels=st.sampled_from([2, 6]),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 2),
    groups=st.tuples(*[st.sampled_from([1, 2])] * 2),
    strength=st.sampled_from([0.01, 1.0, 40.0]),
    optional=st.sets(st.sampled_from(["D", "z", "delta_bias"])),
    softplus=st.booleans(),
    form=st.sampled_from(list(FORMS)),
)
@settings(max_examples=80)
def test_every_form_is_the_recurrence(softplus: bool, form: str, optional: set[str], **sides: Any) -> None:
    arrays = scan_inputs(**sides, optional=tuple(optional))
    if not softplus:
        arrays |= {name: np.abs(arrays[name]) for name in ("delta", "delta_bias") if name in arrays}
    for found, wanted in zip(run(arrays, softplus, form), wanted_of(arrays, softplus), strict=True):
        assert found.shape == wanted.shape and found.dtype == torch.float32
        assert relative_error(found, torch.from_numpy(wanted.astype(np.float32))) < EXACT


@each_form
@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 23, 36])
def test_gradients_are_those_of_the_recurrence(form: str, length: int) -> None:
    arrays = scan_inputs(3, channels=2, states=2, length=length, kinds=(KINDS[2], KINDS[1]), groups=(2, 1))
    inputs = [torch.from_numpy(arrays[name]).double().requires_grad_() for name in arrays]

    def function(*values: torch.Tensor) -> Any:
        given_ = dict(zip(arrays, values, strict=True))
        main, more = ([given_[name] for name in names] for names in (("u", "delta", "A", "B", "C"), ("D", "z")))
        return selective_scan(*main, *more, given_["delta_bias"], True, return_last_state=True, form=form)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=length > 3)


@pytest.mark.parametrize("form", ["two-level", "associative"])
def test_second_gradients(form: str) -> None:
    a, b = torch.rand(7, 2, dtype=torch.double), torch.randn(7, 2, dtype=torch.double)
    assert torch.autograd.gradgradcheck(FORMS[form], [a.requires_grad_(), b.requires_grad_()])


@each_form
def test_strong_decay_keeps_results_and_gradients_finite(form: str) -> None:
    """The sums that cumulative forms take the exponential of pass 88, where float32 ends, within a few steps."""
    arrays = scan_inputs(1, channels=4, states=16, length=700, strength=100.0, optional=())
    arrays["delta"] += 3
    assert (np.logaddexp(0, arrays["delta"]).mean() * -arrays["A"]).max() > 500
    inputs = [torch.from_numpy(arrays[name]).requires_grad_() for name in ("u", "delta", "A", "B", "C")]
    y = selective_scan(*inputs, delta_softplus=True, form=form)
    assert relative_error(y.detach(), torch.from_numpy(wanted_of(arrays, True)[0].astype(np.float32))) < EXACT
    y.square().sum().backward()
    for tensor in inputs:
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any()


@each_form
def test_nothing_is_forgotten_without_decay(form: str) -> None:
    ones = torch.ones(1, 1, 500)
    y = selective_scan(ones, ones, torch.zeros(1, 1), ones, ones, form=form)
    assert torch.equal(y.flatten(), torch.arange(1.0, 501.0))


@each_form
def test_half_precision_is_computed_in_single(form: str) -> None:
    arrays = scan_inputs(5, length=300, channels=2, groups=(1, 1), strength=0.01)
    half = {name: torch.from_numpy(array).half() for name, array in arrays.items()}
    y = selective_scan(*(half[name] for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")), True, form=form)
    rounded = {name: tensor.float().numpy() for name, tensor in half.items()}
    wanted = torch.from_numpy(wanted_of(rounded, True)[0].astype(np.float32))
    assert y.dtype == torch.half
    assert relative_error(y.float(), wanted) < 1e-3  # the rounding of the result alone is half of that


def test_autocast_leaves_the_scan_alone() -> None:
    arrays = tensors(scan_inputs(6, states=3, length=200, optional=()))
    inputs = [arrays[name] for name in ("u", "delta", "A", "B", "C")]
    alone = selective_scan(*inputs, delta_softplus=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(*inputs, delta_softplus=True), alone)


def test_chunks_are_about_the_square_root() -> None:
    assert [chunk_length(length) for length in (1, 25, 400, 1600, 6400, 768, 401)] == [1, 5, 20, 40, 80, 24, 21]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"delta": (1, 4, 8)}, "delta has the shape"),
        ({"z": (1, 1, 9)}, "z has the shape"),
        ({"A": (3, 1)}, "must be"),
        ({"B": (1, 2, 9)}, "fits neither"),
        ({"C": (1, 3, 1, 9)}, "do not divide into 3 groups"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, tuple[int, ...]], says: str) -> None:
    arrays = tensors(scan_inputs(0)) | {name: torch.ones(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=says):
        selective_scan(*(arrays[name] for name in ("u", "delta", "A", "B", "C", "D", "z")))


def test_unknown_forms_ways_and_layouts_are_refused() -> None:
    arrays = tensors(scan_inputs(0))
    with pytest.raises(ValueError, match="two-level"):
        selective_scan(*(arrays[name] for name in ("u", "delta", "A", "B", "C")), form="cumsum")
    with pytest.raises(ValueError, match="only 0 to 3"):
        cross_scan(torch.zeros(1, 1, 2, 2), 4)
    with pytest.raises(ValueError, match="NHWC"):
        SS2D(4, layout="CHW")


@pytest.mark.parametrize("scans", range(4))
@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (1, 4), (4, 1), (2, 2)])
def test_reading_and_merging_maps(scans: int, height: int, width: int) -> None:
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((2, 3, height, width)), rng.standard_normal((2, 4, 3, height * width))
    found = cross_scan(torch.from_numpy(x), scans)
    merged = cross_merge(torch.from_numpy(y), height, width, scans)
    assert np.array_equal(found.numpy(), oracle.cross_scan(x, scans))
    assert np.allclose(merged.numpy(), oracle.cross_merge(y, height, width, scans), rtol=1e-12)
    # Merging is the transpose of reading: <scan(x), y> = <x, merge(y)>.
    assert np.isclose((found.numpy() * y).sum(), (x.reshape(merged.shape) * merged.numpy()).sum())
    y_in = y.reshape(2, 4, 3, height, width)
    assert case_error({"x": x, "y_in": y_in}, {}, {"cross_scan": found, "cross_merge": merged}, scans=scans) < EXACT
    assert case_error({"x": x, "y_in": y}, {}, {"cross_merge": merged}, scans=scans) < EXACT


@pytest.mark.parametrize(
    "hyper",
    [
        {},
        {"d_state": 1, "ssm_ratio": 1.0},
        {"d_state": 3, "dt_rank": 5},
        {"ssm_ratio": 0.7, "scans": 1},
        {"d_state": 2, "ssm_ratio": 1.5, "scans": 2},
        {"d_state": 2, "scans": 3, "layout": "NHWC"},
        {"d_state": 2, "dt_rank": 2, "layout": "NCHW"},
    ],
)
def test_ss2d(hyper: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = SS2D(20, **hyper)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    params = {name: parameter.detach().numpy() for name, parameter in module.state_dict().items()}
    x = np.random.default_rng(2).standard_normal((2, 4, 7, 20))
    y = oracle.ss2d(x, params, hyper.get("scans", 0))
    if hyper.get("layout") == "NCHW":
        x, y = x.transpose(0, 3, 1, 2), y.transpose(0, 3, 1, 2)
    assert case_error({"x": x}, params, {"y": y}, d_model=20, **hyper) < EXACT
    assert (
        case_error({"x": x}, params, {"y": y}, **{k: v for k, v in hyper.items() if k in ("scans", "layout")}) < EXACT
    )


def test_ss2d_of_convolutions_and_without_a_bias() -> None:
    torch.manual_seed(1)
    params = {name: it.numpy() for name, it in SS2D(6, d_state=2).state_dict().items()}
    params["conv2d.bias"] = np.zeros_like(params["conv2d.bias"])
    x = np.random.default_rng(3).standard_normal((1, 3, 4, 6))
    y = oracle.ss2d(x, params, 0)
    del params["conv2d.bias"]
    for name in ("in_proj.weight", "out_proj.weight"):
        params[name] = params[name][:, :, None, None]
    x, y = x.transpose(0, 3, 1, 2), y.transpose(0, 3, 1, 2)
    assert case_error({"x": x}, params, {"y": y}, layout="NCHW") < EXACT


def test_the_checker_takes_any_scan_and_refuses_what_it_does_not_know() -> None:
    for seed, kinds in enumerate([KINDS[:2], KINDS[1:], (KINDS[2], KINDS[0])]):
        arrays = scan_inputs(seed, batch=2, states=3, kinds=(kinds[0], kinds[1]))
        y, last = wanted_of(arrays, True)
        assert case_error(arrays, {}, {"out": y}, delta_softplus=True, groups=2) < EXACT
        assert case_error(arrays, {}, {"last_state": last}, delta_softplus=True) < EXACT
    with pytest.raises(NoHandler, match="other"):
        case_error(arrays, {}, {"other": y})
    with pytest.raises(NoHandler):
        case_error({"x": y}, {}, {"y": y})


def test_ss2d_starts_as_published_and_learns() -> None:
    torch.manual_seed(0)
    module = SS2D(32)
    times = torch.nn.functional.softplus(module.dt_projs_bias)
    assert times.min() >= 1e-3 * 0.999 and times.max() <= 1e-1 * 1.001
    assert 0.005 < times.median() < 0.02  # even on a logarithmic scale
    assert torch.allclose(-module.A_logs.exp(), -torch.arange(1.0, 17.0).expand(4 * 64, 16))
    module(torch.randn(2, 3, 5, 32)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_ss2d_can_be_copied_and_pickled() -> None:
    module = SS2D(8, d_state=1, ssm_ratio=1.0).eval()
    x = torch.randn(1, 3, 4, 8)
    with torch.no_grad():
        assert torch.equal(module(x), copy.deepcopy(module)(x))
        assert torch.equal(module(x), pickle.loads(pickle.dumps(module))(x))


def test_ss2d_stays_in_double_precision() -> None:
    module = SS2D(4, d_state=3, ssm_ratio=1).double()
    x = torch.rand(1, 2, 3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    module.A_logs.data += 1e-9  # lost in float32
    moved = module(x)
    module.A_logs.data -= 1e-9
    assert not torch.equal(moved, module(x))
