"""UniRepLKNet: the same as plain numpy, deploy form the same as training form, published checkpoints by name."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.unireplknet import (
    BRANCHES,
    GRN,
    VARIANTS,
    DilatedReparamBlock,
    LayerNorm2d,
    SqueezeExcite,
    UniRepLKNet,
    UniRepLKNetBlock,
    load_upstream,
)
from lineside.runtime.errors import WeightsError
from oracle import unireplknet as oracle
from oracle.convolution import layer_norm

EXACT = 1e-5
SMALL = {"depths": [1, 2, 1, 1], "dims": [8, 12, 16, 20], "kernels": [[3], [13, 5], [0], [17]]}


def answered(
    state: Mapping[str, np.ndarray], x: np.ndarray, wanted: Mapping[str, np.ndarray], **hyper: Any
) -> dict[str, float]:
    """Relative error of each output that the checker gives for a case made here."""

    def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    case = Case("unireplknet", "any name", hyper, tensors({"x": x}), tensors(state), tensors(wanted), "", {})
    found = answer(case)
    return {name: relative_error(found[name], case.expected[name]) for name in wanted}


class TestAnswers:
    """Cases of other sizes and hyper-parameters than the shipped ones, their outputs made in numpy."""

    @pytest.mark.parametrize("eps", [1e-6, 0.5])
    def test_response_normalisation(self, eps: float) -> None:
        state = randomised(GRN(7))
        x = picture(2, 3, 6, 7)
        y = oracle.grn(x.astype(float), state["gamma"], state["beta"], eps)
        assert answered(state, x, {"y": y}, dim=7, eps=eps)["y"] < EXACT

    def test_squeeze_and_excitation(self) -> None:
        state = randomised(SqueezeExcite(9, 4))
        x = picture(2, 9, 3, 5)
        y = oracle.squeeze_excite(x.astype(float), state)
        assert answered(state, x, {"y": y}, ch=9, internal=4)["y"] < EXACT

    @pytest.mark.parametrize("kernel", sorted(BRANCHES))
    def test_kernels_with_their_own_branches(self, kernel: int) -> None:
        state = randomised(DilatedReparamBlock(5, kernel))
        x = picture(2, 5, 21, 18)
        y = oracle.dilated(x.astype(float), state, *oracle.KERNELS[kernel])
        errors = answered(state, x, {"y": y, "y_merged": y}, channels=5, kernel_size=kernel)
        assert max(errors.values()) < EXACT

    @pytest.mark.parametrize(
        ("kernel", "sides", "dilations"), [(9, [3], [4]), (7, [7, 3], [1, 1]), (19, [3, 5], [9, 2]), (3, [3], [1])]
    )
    def test_kernels_with_other_branches(self, kernel: int, sides: list[int], dilations: list[int]) -> None:
        state = randomised(DilatedReparamBlock(4, kernel, list(zip(sides, dilations, strict=True))))
        x = picture(1, 4, 20, 23)
        y = oracle.dilated(x.astype(float), state, sides, dilations)
        hyper = {"channels": 4, "kernel_size": kernel, "kernel_sizes": sides, "dilates": dilations}
        assert max(answered(state, x, {"y": y, "y_merged": y}, **hyper).values()) < EXACT

    @pytest.mark.parametrize(("kernel", "factor", "dim"), [(0, 4, 8), (3, 2, 12), (5, 1.5, 8), (11, 3, 10), (17, 4, 6)])
    def test_blocks(self, kernel: int, factor: float, dim: int) -> None:
        state = randomised(UniRepLKNetBlock(dim, kernel, factor))
        x = picture(2, dim, 9, 19)
        y = oracle.block(x.astype(float), state, kernel)
        errors = answered(state, x, {"y": y, "y_deploy": y}, dim=dim, kernel_size=kernel, ffn_factor=factor)
        assert max(errors.values()) < EXACT

    def test_block_without_a_kernel_may_have_a_norm(self) -> None:
        norm = {name: value for name, value in randomised(UniRepLKNetBlock(8, 3)).items() if name.startswith("norm.")}
        state = randomised(UniRepLKNetBlock(8, 0)) | norm
        x = picture(2, 8, 5, 6)
        y = oracle.block(x.astype(float), state, 0)
        assert max(answered(state, x, {"y": y, "y_deploy": y}, kernel_size=0).values()) < EXACT

    def test_network_that_is_given_by_its_names_alone(self) -> None:
        state = randomised(UniRepLKNet(**SMALL, ffn_factor=3))
        x = picture(1, 3, 64, 75)
        wanted = {}
        for index, y in enumerate(oracle.network(x.astype(float), state, SMALL["kernels"])):
            y = layer_norm(y, state[f"norm{index}.weight"], state[f"norm{index}.bias"])
            wanted |= {f"p{index + 2}": y, f"p{index + 2}_deploy": y}
        assert max(answered(state, x, wanted).values()) < EXACT

    def test_classifier(self) -> None:
        state = randomised(UniRepLKNet(**SMALL, output="logits", classes=6))
        x = picture(2, 3, 40, 33)
        y = oracle.network(x.astype(float), state, SMALL["kernels"])[-1].mean((2, 3))
        y = layer_norm(y, state["norm.weight"], state["norm.bias"])
        y = y @ state["head.weight"].T.astype(float) + state["head.bias"]
        assert max(answered(state, x, {"logits": y, "logits_deploy": y}).values()) < EXACT

    def test_what_nothing_here_computes(self) -> None:
        with pytest.raises(NoHandler, match="something"):
            answered({"something.weight": np.ones(3)}, picture(1, 3, 4, 4), {"y": np.ones(3)})
        with pytest.raises(NoHandler, match="stages"):
            answered({"downsample_layers.0.0.weight": np.ones((4, 3, 3, 3))}, picture(1, 3, 4, 4), {"p2": np.ones(3)})


def depthwise_kernels(network: torch.nn.Module) -> list[int]:
    convs = (module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    return [conv.kernel_size[0] for conv in convs if conv.groups > 1]


class TestDeployForm:
    @settings(max_examples=40)
    @given(
        kernel=st.sampled_from(sorted(BRANCHES)),
        channels=st.integers(1, 9),
        size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
        seed=st.integers(0, 99),
    )
    def test_one_kernel_does_what_all_branches_do(
        self, kernel: int, channels: int, size: tuple[int, int], seed: int
    ) -> None:
        module = DilatedReparamBlock(channels, kernel)
        randomised(module, seed)
        x = torch.from_numpy(picture(2, channels, *size, seed=seed))
        with torch.no_grad():
            assert relative_error(module.deployed()(x), module(x)) < EXACT

    @settings(max_examples=40)
    @given(
        kernel=st.sampled_from([0, 3, 5, *(side for side in sorted(BRANCHES) if side > 5)]),
        channels=st.integers(4, 12),
        factor=st.sampled_from([1.0, 2.0, 2.5, 4.0]),
        scaled=st.booleans(),
        seed=st.integers(0, 99),
    )
    def test_block(self, kernel: int, channels: int, factor: float, scaled: bool, seed: int) -> None:
        module = UniRepLKNetBlock(channels, kernel, factor, layer_scale=1.0 if scaled else None)
        randomised(module, seed)
        before = copy.deepcopy(module.state_dict())
        twin = module.deployed()
        x = torch.from_numpy(picture(1, channels, 11, 14, seed=seed))
        with torch.no_grad():
            assert relative_error(twin(x), module(x)) < EXACT
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())

    @pytest.mark.parametrize("output", ["features", "logits"])
    def test_network_ends_in_plain_convolutions(self, output: Any) -> None:
        network = UniRepLKNet(**SMALL, output=output, classes=5)
        randomised(network)
        twin = network.deployed()
        x = torch.from_numpy(picture(1, 3, 64, 70))
        with torch.no_grad():
            mine, its = network(x), twin(x)
        pairs = [(its, mine)] if output == "logits" else list(zip(its, mine, strict=True))
        assert max(relative_error(got, wanted) for got, wanted in pairs) < EXACT
        assert not [module for module in twin.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert depthwise_kernels(twin) == [3, 13, 5, 17]
        assert len(depthwise_kernels(network)) == 4 + 2 * 5

    def test_norms_of_other_eps_are_folded_with_it(self) -> None:
        module = UniRepLKNetBlock(8, 7)
        randomised(module)
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.eps = 0.1  # training programs set their own
        x = torch.from_numpy(picture(1, 8, 9, 9))
        with torch.no_grad():
            assert relative_error(module.deployed()(x), module(x)) < EXACT

    def test_deploy_form_of_a_deploy_form(self) -> None:
        module = UniRepLKNetBlock(8, 13)
        randomised(module)
        once = module.deployed()
        x = torch.from_numpy(picture(1, 8, 9, 9))
        with torch.no_grad():
            assert torch.equal(once.deployed()(x), once(x))


class TestGraph:
    """The response normalisation is written down in another form than it is trained in."""

    @staticmethod
    def exported(module: torch.nn.Module, x: np.ndarray, free: bool) -> onnx.ModelProto:
        axes = {"x": {2: "h", 3: "w"}} if free else {}
        buffer = io.BytesIO()
        torch.onnx.export(
            module,
            (torch.from_numpy(x),),
            buffer,  # type: ignore[arg-type]
            input_names=["x"],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
        return onnx.load_from_string(buffer.getvalue())

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("free", [False, True])
    def test_it_computes_the_same_at_any_size(self, free: bool) -> None:
        module = GRN(6, eps=0.5, channels_last=False)  # an eps that counts
        state = randomised(module)
        session = ort.InferenceSession(self.exported(module, picture(1, 6, 8, 10), free).SerializeToString())
        for size in [(8, 10), (3, 17), (1, 1)] if free else [(8, 10)]:
            x = picture(1, 6, *size)
            wanted = oracle.grn(x.transpose(0, 2, 3, 1).astype(float), state["gamma"], state["beta"], 0.5)
            np.testing.assert_allclose(
                session.run(None, {"x": x})[0], wanted.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5
            )

    @pytest.mark.filterwarnings("ignore")
    def test_its_squares_are_averaged_so_that_half_precision_holds_them(self) -> None:
        kinds = {
            node.op_type for node in self.exported(GRN(6, channels_last=False), picture(1, 6, 8, 8), False).graph.node
        }
        assert "GlobalAveragePool" in kinds and not {"ReduceL2", "ReduceSum", "Shape"} & kinds


class TestTraining:
    def test_a_silent_channel_does_not_break_the_gradient(self) -> None:
        module = GRN(3, channels_last=False)
        randomised(module)
        x = torch.from_numpy(picture(1, 3, 4, 4))
        x[:, 1] = 0
        x.requires_grad_(True)
        module(x).sum().backward()
        assert x.grad is not None and bool(torch.isfinite(x.grad).all())

    def test_every_parameter_learns(self) -> None:
        network = UniRepLKNet([1, 1, 1, 1], [24, 24, 32, 32], [[3], [7], [0], [9]], layer_scale=1.0)
        randomised(network)  # eval mode: in training a BatchNorm takes away again what beta of the GRN adds
        sum((y**2).mean() for y in network(torch.from_numpy(picture(4, 3, 64, 64)))).backward()  # type: ignore[union-attr]
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
            assert bool((parameter.grad != 0).any()), name

    def test_training_mode_learns_but_for_what_a_norm_takes_away(self) -> None:
        block = UniRepLKNetBlock(24, 7, layer_scale=1.0)
        randomised(block)
        block.train()
        (block(torch.from_numpy(picture(4, 24, 12, 12))) ** 2).mean().backward()
        norms = {
            name: float(value.grad.abs().max()) for name, value in block.named_parameters() if value.grad is not None
        }
        assert len(norms) == len(dict(block.named_parameters()))
        shifts = {
            name for name in norms if name == "act.1.beta" or (name.startswith("dwconv") and name.endswith("bias"))
        }
        assert len(shifts) == 5
        assert max(norms[name] for name in shifts) < 1e-6 < min(norms[name] for name in norms.keys() - shifts)

    def test_skipped_samples_pass_unchanged(self) -> None:
        block = UniRepLKNetBlock(8, 3, layer_scale=1.0, drop_path=0.5)
        randomised(block)
        block.train()
        x = torch.from_numpy(picture(64, 8, 5, 5))
        torch.manual_seed(0)
        same = (block(x) == x).flatten(1).all(1)
        assert 0 < int(same.sum()) < 64
        block.eval()
        assert not bool((block(x) == x).flatten(1).all(1).any())

    def test_copies_and_pickles(self) -> None:
        network = UniRepLKNet(**SMALL)
        randomised(network)
        x = torch.from_numpy(picture(1, 3, 32, 32))
        for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(twin(x)[3], network(x)[3])


class TestSizes:
    @pytest.mark.parametrize(
        ("letter", "millions"),
        [("a", 4.4), ("f", 6.2), ("p", 10.7), ("n", 18.3), ("t", 31), ("s", 56), ("b", 98), ("l", 218), ("xl", 386)],
    )
    def test_variants_have_the_published_number_of_parameters(self, letter: str, millions: float) -> None:
        variant = VARIANTS[letter]
        with torch.device("meta"):
            network = UniRepLKNet(variant.depths, variant.dims, variant.kernels, "logits", deploy=True)
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.05 if millions < 20 else 1)

    def test_kernels_of_the_third_stage(self) -> None:
        assert {letter: VARIANTS[letter].kernels[2] for letter in "afpn"} == {
            "a": (13,) * 6, "f": (13,) * 6, "p": (13,) * 6, "n": (13,) * 8,
        }  # fmt: skip
        assert VARIANTS["t"].kernels[2] == (13, 3) * 9
        assert {VARIANTS[letter].kernels[2] for letter in ("s", "b", "l", "xl")} == {(13, 3, 3) * 9}
        for variant in VARIANTS.values():
            first, second, _, fourth = variant.kernels
            assert (set(first), set(second), set(fourth)) == ({3}, {13}, {13})

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: UniRepLKNetBlock(8, 6), "kernel of size 6"),
            (lambda: UniRepLKNetBlock(8, 19), "kernel size 19"),
            (lambda: DilatedReparamBlock(8, 7, [(5, 2)]), "does not fit into a kernel of size 7"),
            (lambda: DilatedReparamBlock(8, 7, [(2, 1)]), "odd"),
            (lambda: UniRepLKNet([1, 1], [8, 8], [[3], [3]]), "4 stages"),
            (lambda: UniRepLKNet([1, 2, 1, 1], [8, 8, 8, 8], [[3]] * 4), "as many kernel sizes"),
            (lambda: UniRepLKNet.of_variant("a", levels=(3, 1)), "rising order"),
            (lambda: UniRepLKNet.of_variant("a", levels=(3, 4)), "0 to 3"),
            (lambda: UniRepLKNet.of_variant("xxl"), "a, f, p, n, t, s, b, l, xl"),
        ],
    )
    def test_wrong_sizes(self, make: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            make()


class TestPublishedCheckpoints:
    @pytest.mark.parametrize("deploy", [False, True])
    @pytest.mark.parametrize("output", ["features", "logits"])
    def test_forms_and_wrappings(self, deploy: bool, output: Any, tmp_path: Path) -> None:
        network = UniRepLKNet(**SMALL, output=output, classes=7)
        randomised(network)
        saved = (network.deployed() if deploy else network).state_dict()
        files = [tmp_path / f"{name}.pth" for name in ("plain", "wrapped", "detector")] + [
            tmp_path / "plain.safetensors"
        ]
        torch.save(saved, files[0])
        torch.save({"model": {f"module.{name}": tensor for name, tensor in saved.items()}, "epoch": 3}, files[1])
        inside = {f"backbone.{name}": tensor for name, tensor in saved.items()}
        torch.save({"state_dict": inside | {"decode_head.weight": torch.zeros(3)}}, files[2])
        save_file(dict(saved), files[3])
        x = torch.from_numpy(picture(1, 3, 64, 64))
        with torch.no_grad():
            wanted = network(x)
            for file in files:
                loaded = load_upstream(file)
                assert not loaded.training
                assert [block.deploy for block in loaded.modules() if isinstance(block, UniRepLKNetBlock)] == [
                    deploy
                ] * 5
                found = loaded(x)
                for got, want in zip(found, wanted, strict=True):
                    assert relative_error(got, want) < EXACT, file.name

    @pytest.mark.parametrize("change", ["missing", "surplus", "shape", "stage"])
    def test_every_tensor_has_its_place(self, change: str, tmp_path: Path) -> None:
        state = dict(UniRepLKNet(**SMALL).state_dict())
        if change == "missing":
            del state["stages.1.0.dwconv.dil_conv_k3_4.weight"]
        if change == "surplus":
            state["stages.1.0.extra"] = torch.zeros(1)
        if change == "shape":
            state["norm2.weight"] = torch.zeros(3)
        if change == "stage":
            state = {name: tensor for name, tensor in state.items() if not name.startswith("stages.2")}
        torch.save(state, tmp_path / "w.pth")
        told = {"missing": "dil_conv_k3_4", "surplus": "extra", "shape": "norm2", "stage": r"\[0, 1, 3\]"}
        with pytest.raises(WeightsError, match=told[change]):
            load_upstream(tmp_path / "w.pth")

    def test_files_that_hold_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="no checkpoint"):
            load_upstream(tmp_path / "absent.pth")
        (tmp_path / "text.pth").write_text("hello")
        with pytest.raises(WeightsError, match="cannot be read"):
            load_upstream(tmp_path / "text.pth")
        torch.save({"model": [1, 2]}, tmp_path / "list.pth")
        with pytest.raises(WeightsError, match="no state dict"):
            load_upstream(tmp_path / "list.pth")

    def test_nothing_in_a_file_is_run(self, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        torch.save({"model": Runs(str(mark))}, tmp_path / "evil.pth")
        with pytest.raises(WeightsError, match="cannot be read"):
            load_upstream(tmp_path / "evil.pth")
        assert not mark.exists()


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


def test_layer_norm_holds_large_values_in_half_precision() -> None:
    x = torch.from_numpy(picture(2, 8, 3, 4)) * 1000
    norm = LayerNorm2d(8)
    wanted = norm(x.half().float()).detach()
    with torch.no_grad():
        found = norm.half()(x.half())
    assert found.dtype == torch.half
    assert float((found.float() - wanted).abs().max()) < 5e-3
