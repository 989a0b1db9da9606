"""The optional focus map of a bundle: contract, manifest, and how it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.tiny_bundle import GAIN, tiny_bundle
from lineside.runtime import HeadContract, Raw, decode
from lineside.runtime.bundle import open_bundle
from lineside.runtime.chips import focus_chips
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import BadFrame, BadOption, ContractMismatch, EngineFailed
from lineside.runtime.manifest import decode_manifest, encode_manifest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls blue cells of 16 px FocusPixels."""
    return tiny_bundle(tmp_path_factory.mktemp("focus") / "f.bundle", size=(64, 96), focus=16)


def frame() -> np.ndarray:
    """``(128, 192, 3)`` BGR: grey, one blue cell (row 1, column 2 of the map), one bright red square."""
    picture = np.full((128, 192, 3), 60, np.uint8)
    picture[32:64, 64:96] = (255, 60, 60)
    picture[64:112, 128:176] = (40, 40, 255)
    return picture


class TestContract:
    def test_the_map_is_the_last_output(self) -> None:
        head = HeadContract(kind="levels", classes=1, coefficients=4, input_size=(64, 96), focus=16)
        assert head.output_names[-2:] == ("protos", "focus")
        assert head.output_shapes(3)[-1] == (3, 1, 4, 6)
        plain = HeadContract(kind="levels", classes=1, coefficients=4, input_size=(64, 96))
        assert (plain.focus, plain.output_names) == (0, head.output_names[:-1])
        assert plain.output_shapes() == head.output_shapes()[:-1]
        boxes = HeadContract(kind="levels", classes=1, coefficients=0, input_size=(64, 96), focus=8)
        assert boxes.output_names[-1] == "focus" and boxes.output_shapes()[-1] == (1, 1, 8, 12)

    @pytest.mark.parametrize(("kind", "focus"), [("flat", 16), ("end2end", 16), ("levels", 4), ("levels", -16)])
    def test_it_is_on_a_level_of_a_head_of_levels(self, kind: str, focus: int) -> None:
        with pytest.raises(BadOption, match="focus"):
            HeadContract(kind=kind, classes=1, coefficients=4, input_size=(64, 64), focus=focus)  # type: ignore[arg-type]

    def test_a_bundle_without_a_map_reads_as_it_did_before(self, bundle: Path, tmp_path: Path) -> None:
        old = open_bundle(tiny_bundle(tmp_path / "old.bundle")).manifest
        assert b"focus" not in encode_manifest(old)
        assert decode_manifest(encode_manifest(old), "here").head.focus == 0
        new = open_bundle(bundle).manifest
        assert json.loads(encode_manifest(new))["head"]["focus"] == 16
        assert decode_manifest(encode_manifest(new), "here") == new

    def test_a_graph_without_the_map_that_its_manifest_promises_is_refused(self, bundle: Path, tmp_path: Path) -> None:
        from lineside.runtime.bundle import write_manifest

        plain = tiny_bundle(tmp_path / "plain.bundle", size=(64, 96))
        shutil.copytree(bundle, tmp_path / "mixed.bundle")
        shutil.copy(plain / "model.onnx", tmp_path / "mixed.bundle" / "model.onnx")
        write_manifest(tmp_path / "mixed.bundle", open_bundle(bundle).manifest)
        with pytest.raises(ContractMismatch, match="focus"):
            lineside.load(tmp_path / "mixed.bundle")


class TestReading:
    def test_raw_gives_every_output_and_the_map_as_probabilities(self, bundle: Path) -> None:
        with lineside.load(bundle) as model:
            raw = model.raw(frame())
            assert isinstance(raw, Raw)
            assert tuple(raw.outputs) == model.manifest.head.output_names
            assert {name: tensor.shape for name, tensor in raw.outputs.items()} == dict(
                zip(model.manifest.head.output_names, model.manifest.head.output_shapes(), strict=True)
            )
            assert raw.letterbox == lineside.runtime.Letterbox.fit((128, 192), (64, 96))
        blue = np.full((4, 6), 60 / 255)
        blue[1, 2], blue[2:3, 4] = 1.0, 40 / 255
        blue[2, 5], blue[3, 4], blue[3, 5] = 50 / 255, 50 / 255, 55 / 255
        assert raw.focus is not None and raw.focus.shape == (4, 6)
        assert raw.focus[1, 2] == pytest.approx(1 / (1 + np.exp(-GAIN / 2)), abs=1e-3)
        assert np.abs(raw.focus - 1 / (1 + np.exp(GAIN / 2 - GAIN * blue))).max() < 0.02
        chips = focus_chips(raw.focus, threshold=0.5, dilation=1, least=1)
        assert raw.letterbox.to_image(chips).tolist() == [[64, 32, 96, 64]]

    def test_what_is_found_does_not_depend_on_it(self, bundle: Path, tmp_path: Path) -> None:
        plain = tiny_bundle(tmp_path / "plain.bundle", size=(64, 96))
        with lineside.load(bundle) as model, lineside.load(plain) as other:
            found, want = model(frame()), other(frame())
            assert len(want) > 0 and np.array_equal(found.boxes, want.boxes)
            assert [m.rle() for m in found.masks or ()] == [m.rle() for m in want.masks or ()]
            raw = model.raw(frame())
            again = decode(list(raw.outputs.values()), model.manifest.head, raw.letterbox)
            assert np.array_equal(again.boxes, want.boxes)
            assert other.raw(frame()).focus is None

    def test_outputs_are_copies_and_the_padding_stays(self, bundle: Path) -> None:
        tall = np.ascontiguousarray(frame()[:, :60])
        with lineside.load(bundle) as model:
            first = model.raw(tall)
            kept = {name: tensor.copy() for name, tensor in first.outputs.items()}
            model.raw(255 - frame())
            assert all(np.array_equal(kept[name], tensor) for name, tensor in first.outputs.items())
            again = model.raw(tall)
            assert all(np.array_equal(kept[name], tensor) for name, tensor in again.outputs.items())

    def test_one_picture_of_a_batch(self, tmp_path: Path) -> None:
        with lineside.load(tiny_bundle(tmp_path / "b.bundle", size=(64, 96), batch=3, focus=32)) as model:
            raw = model.raw(frame())
            assert raw.outputs["focus"].shape == (1, 1, 2, 3) and raw.outputs["protos"].shape[0] == 1
            assert len(model.many([frame()] * 4)) == 4

    def test_it_is_recorded_and_replayed(self, bundle: Path, tmp_path: Path) -> None:
        with lineside.load(bundle) as model:
            want = model.raw(frame())
            save_recording(tmp_path / "r.npz", model.manifest, [list(want.outputs.values())])
        with lineside.load(bundle, engine=f"recorded:{tmp_path / 'r.npz'}") as model:
            got = model.raw(frame())
            assert got.focus is not None and np.array_equal(got.focus, want.focus)

    def test_wrong_pictures_and_a_closed_model_are_refused(self, bundle: Path) -> None:
        model = lineside.load(bundle)
        with pytest.raises(BadFrame):
            model.raw(np.zeros((4, 4, 4), np.uint8))
        model.close()
        with pytest.raises(EngineFailed, match="closed"):
            model.raw(frame())
