"""CGNet: the same as plain numpy, with every hyper-parameter; the whole network of the published size."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from helpers.random_weights import picture, randomised
from lineside.export.modules.cgnet import CGNet, ContextGuidedBlock, ContextGuidedDown, GlobalContext, Residual
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from oracle import cgnet as oracle

EXACT = 1e-5


def error(state: Mapping[str, np.ndarray], x: np.ndarray, wanted: Mapping[str, np.ndarray], **hyper: Any) -> float:
    """Largest relative error of what the checker gives for a case made here."""

    def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    case = Case("cgnet", "any name", hyper, tensors({"x": x}), tensors(state), tensors(wanted), "", {})
    found = answer(case)
    return max(relative_error(found[name], case.expected[name]) for name in wanted)


@pytest.mark.parametrize(
    ("c1", "c2", "hyper"),
    [
        (16, 16, {}),
        (16, 16, {"dilation_rate": 1, "reduction": 5}),
        (10, 10, {"dilation_rate": 3, "reduction": 2, "bn_eps": 0.1}),
        (10, 22, {"dilation_rate": 7, "reduction": 4, "add": False}),
        (12, 12, {"reduction": 3, "residual": "local"}),
    ],
)
def test_block(c1: int, c2: int, hyper: dict[str, Any]) -> None:
    residual = {"residual": hyper["residual"]} if "residual" in hyper else {}
    state = randomised(
        ContextGuidedBlock(c1, c2, reduction=hyper.get("reduction", 16), add=hyper.get("add", True), **residual)
    )
    x = picture(2, c1, 9, 12)
    y = oracle.block(
        x.astype(float),
        state,
        dilation=hyper.get("dilation_rate", 2),
        add=hyper.get("add", True),
        local=bool(residual),
        eps=hyper.get("bn_eps", 1e-3),
    )
    assert error(state, x, {"y": y}, nIn=c1, nOut=c2, **hyper) < EXACT


@pytest.mark.parametrize(
    ("c1", "c2", "hyper"), [(16, 32, {}), (7, 9, {"dilation_rate": 5, "reduction": 2, "bn_eps": 0.05})]
)
@pytest.mark.parametrize("size", [(8, 12), (9, 11), (1, 1)])
def test_down(c1: int, c2: int, hyper: dict[str, Any], size: tuple[int, int]) -> None:
    state = randomised(ContextGuidedDown(c1, c2, reduction=hyper.get("reduction", 16)))
    x = picture(1, c1, *size)
    settings = {"dilation": hyper.get("dilation_rate", 2), "eps": hyper.get("bn_eps", 1e-3)}
    y = oracle.block(x.astype(float), state, down=True, **settings)
    assert error(state, x, {"y": y}, nIn=c1, nOut=c2, **hyper) < EXACT


@pytest.mark.parametrize(("channels", "hyper"), [(32, {}), (9, {"reduction": 4})])
def test_global_context(channels: int, hyper: dict[str, Any]) -> None:
    state = randomised(GlobalContext(channels, hyper.get("reduction", 16)))
    x = picture(2, channels, 5, 6)
    assert error(state, x, {"y": oracle.global_context(x.astype(float), state)}, channel=channels, **hyper) < EXACT


def test_injection() -> None:
    x = picture(2, 3, 19, 34)
    assert error({}, x, {f"y{times}": oracle.injected(x, times) for times in (1, 2, 3)}) < EXACT
    assert error({}, x, {"y": oracle.injected(x, 1)}) < EXACT


@pytest.mark.parametrize("residual", ["global", "local"])
@pytest.mark.parametrize(("second", "third"), [(3, 4), (1, 1)])
def test_network(second: int, third: int, residual: Residual) -> None:
    state = randomised(CGNet(5, second, third, residual, channels=4))
    x = picture(1, 4, 37, 48)
    y = oracle.network(x.astype(float), state, second, third, local=residual == "local")
    assert error(state, x, {"y": y}, residual=residual) < EXACT


def test_where_the_residual_of_a_network_goes_matters() -> None:
    one, other = CGNet(3, 2, 2), CGNet(3, 2, 2, "local")
    randomised(one)
    other.load_state_dict(one.state_dict())
    x = torch.from_numpy(picture(1, 3, 24, 32))
    with torch.no_grad():
        assert float((one(x) - other.eval()(x)).abs().max()) > 1e-2


def test_network_of_the_published_size() -> None:
    torch.manual_seed(0)
    network = CGNet(19).eval()
    assert (len(network.level2), len(network.level3)) == (2, 20)  # M = 3 and N = 21 with those that halve the map
    assert {block.F_sur.conv.dilation for block in network.level3} == {(4, 4)}
    assert sum(parameter.numel() for parameter in network.parameters()) == 496_306
    with torch.no_grad():
        scores = network(torch.from_numpy(picture(1, 3, 48, 64)))
    assert scores.shape == (1, 19, 48, 64)
    assert bool(torch.isfinite(scores).all()) and float(scores.std()) > 0


def test_what_nothing_here_computes() -> None:
    with pytest.raises(NoHandler, match="something"):
        error({"something.weight": np.ones(3)}, picture(1, 3, 4, 4), {"y": np.ones(3)})
    with pytest.raises(NoHandler, match="not mask"):
        error({}, picture(1, 3, 4, 4), {"mask": np.ones(3)})


@pytest.mark.parametrize("training", [False, True])
def test_every_parameter_learns(training: bool) -> None:
    network = CGNet(4, 2, 2)
    randomised(network)
    network.train(training)
    (network(torch.from_numpy(picture(2, 3, 40, 40))) ** 2).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_copies_and_pickles() -> None:
    network = CGNet(4, 1, 1)
    randomised(network)
    x = torch.from_numpy(picture(1, 3, 24, 24))
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(x), network(x))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ContextGuidedBlock(8, 7, add=False), "even"),
        (lambda: ContextGuidedBlock(8, 16), "as many channels in as out"),
        (lambda: ContextGuidedBlock(32, 32, residual="both"), "'global' or 'local'"),  # type: ignore[arg-type]
        (lambda: GlobalContext(8, 16), "leaves no channel"),
        (lambda: CGNet(2, 0, 1), "at least one block"),
    ],
)
def test_wrong_sizes(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
