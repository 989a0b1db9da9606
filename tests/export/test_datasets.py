"""The data set check finds each planted fault, and says where it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from lineside.export.datasets import check_dataset, find_dataset, write_resolved
from lineside.export.labels import label_of
from lineside.export.synth.dataset import write_dataset
from lineside.runtime.errors import DatasetError

GOOD_LINE = "0 0.1 0.1 0.4 0.1 0.4 0.4\n"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound set of 4 + 2 pictures."""
    return write_dataset("tube", tmp_path_factory.mktemp("sound") / "set", 4, 2, 64, seed=1).parent


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "set"))


def label(dataset: Path, index: int = 1) -> Path:
    return dataset / "labels" / "train" / f"tube_{index:05d}.txt"


def picture(dataset: Path, index: int = 1) -> Path:
    return dataset / "images" / "train" / f"tube_{index:05d}.jpg"


def test_a_sound_set_is_counted(dataset: Path) -> None:
    label(dataset, 0).write_text(GOOD_LINE * 2)
    label(dataset, 1).write_text("\n")
    label(dataset, 2).unlink()
    label(dataset, 3).write_text(GOOD_LINE)
    report = check_dataset(dataset / "data.yaml")
    report.require()
    train = report.splits["train"]
    assert (train.pictures, train.objects, train.empty, train.unlabelled) == (4, 3, 2, 1)
    assert "train: 4 pictures, 3 objects, 2 without an object (1 have no label file)" in report.summary()


@pytest.mark.parametrize(
    ("line", "kind", "why"),
    [
        ("1 0.1 0.1 0.4 0.1 0.4 0.4", "class mismatch", "class 1 is not among the 1"),
        ("-1 0.1 0.1 0.4 0.1 0.4 0.4", "class mismatch", "class -1"),
        ("0.5 0.1 0.1 0.4 0.1 0.4 0.4", "class mismatch", "no whole number"),
        ("nan 0.1 0.1 0.4 0.1 0.4 0.4", "class mismatch", "no whole number"),
        ("0 0.1 0.1 0.4 0.1 0.4 1.25", "outside the picture", "1.25"),
        ("0 0.1 0.1 0.4 0.1 0.4 -0.01", "outside the picture", "-0.01"),
        ("0 10 10 40 10 40 40", "outside the picture", "divided by width and height"),
        ("0 0.1 0.1 0.4 0.1", "too few points", "a box"),
        ("0 0.1 0.1", "too few points", "1 points"),
        ("0", "too few points", "0 points"),
        ("0 0.1 0.1 0.4 0.1 0.4", "broken label", "odd number"),
        ("0 0.1 0.1 0.4 0.1 0.4 abc", "broken label", "no number"),
        ("0 0.1 0.1 0.4 0.1 0.4 nan", "broken label", "not finite"),
        ("0 0.1 0.1 0.4 0.1 0.4 inf", "broken label", "not finite"),
        ("0 0.1 0.1 0.1 0.2 0.1 0.4", "too few points", "no area"),
    ],
)
def test_a_broken_line_is_named_with_its_file_and_number(dataset: Path, line: str, kind: str, why: str) -> None:
    label(dataset).write_text(GOOD_LINE + line + "\n" + GOOD_LINE)
    report = check_dataset(dataset / "data.yaml")
    (fault,) = report.faults
    assert (fault.kind, fault.file, fault.line) == (kind, label(dataset), 2)
    assert why in fault.why
    with pytest.raises(DatasetError) as caught:
        report.require()
    assert f"{label(dataset)}:2: " in str(caught.value)
    assert f"1 × {kind}" in str(caught.value)


def truncate(dataset: Path) -> Path:
    picture(dataset).write_bytes(picture(dataset).read_bytes()[:-200])
    return picture(dataset)


def garbage(dataset: Path) -> Path:
    picture(dataset).write_bytes(b"this is no picture at all")
    return picture(dataset)


def nothing(dataset: Path) -> Path:
    picture(dataset).write_bytes(b"")
    return picture(dataset)


def tiny(dataset: Path) -> Path:
    cv2.imwrite(str(picture(dataset)), np.zeros((8, 40, 3), np.uint8))
    return picture(dataset)


def no_text(dataset: Path) -> Path:
    label(dataset).write_bytes(b"\xff\xfe\x00broken")
    return label(dataset)


def no_picture(dataset: Path) -> Path:
    picture(dataset).unlink()
    return label(dataset)


@pytest.mark.parametrize(
    ("spoil", "kind", "why"),
    [
        (truncate, "unreadable picture", "cut off"),
        (garbage, "unreadable picture", "no picture"),
        (nothing, "unreadable picture", "no picture"),
        (tiny, "unreadable picture", "only 40x8 px"),
        (no_text, "unreadable label", "no text"),
        (no_picture, "missing file", "labels a picture"),
    ],
)
def test_a_broken_file_is_named(dataset: Path, spoil: Callable[[Path], Path], kind: str, why: str) -> None:
    guilty = spoil(dataset)
    (fault,) = check_dataset(dataset / "data.yaml").faults
    assert (fault.kind, fault.file) == (kind, guilty)
    assert why in fault.why


def change(dataset: Path, **settings: object) -> Path:
    """Rewrites data.yaml with other settings; None removes one."""
    path = dataset / "data.yaml"
    config = {**yaml.safe_load(path.read_text()), **settings}
    path.write_text(yaml.safe_dump({name: value for name, value in config.items() if value is not None}))
    return path


def test_a_missing_split_folder_is_named(dataset: Path) -> None:
    faults = check_dataset(change(dataset, val="images/holdout")).faults
    assert [fault.kind for fault in faults] == ["missing file", "empty split"]
    assert faults[0].file == dataset / "images/holdout"


def test_a_list_file_names_its_missing_pictures_by_line(dataset: Path) -> None:
    (dataset / "val.txt").write_text("images/val/tube_00000.jpg\n\nimages/val/gone.jpg\n")
    report = check_dataset(change(dataset, val="val.txt"))
    assert [(fault.file, fault.line) for fault in report.faults] == [(dataset / "val.txt", 3)]
    assert report.splits["val"].pictures == 1


def test_a_picture_in_both_splits_is_a_fault(dataset: Path) -> None:
    (dataset / "val.txt").write_text("images/val/tube_00000.jpg\nimages/train/tube_00002.jpg\n")
    (fault,) = check_dataset(change(dataset, val="val.txt")).faults
    assert (fault.kind, fault.file) == ("split overlap", picture(dataset, 2))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"train": None}, "no 'train' pictures"),
        ({"names": None}, "names no classes"),
        ({"names": []}, "names no classes"),
        ({"names": {1: "capp"}}, "numbers its classes"),
        ({"nc": 3}, "nc: 3, but names 1"),
        ({"path": "elsewhere"}, "elsewhere"),
    ],
)
def test_a_data_file_that_cannot_be_used_is_refused(dataset: Path, settings: dict[str, object], why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        check_dataset(change(dataset, **settings))


@pytest.mark.parametrize("text", ["a: [", "just words", "", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        check_dataset(tmp_path / "data.yaml")


def test_of_many_faults_twenty_are_spelled_out_and_all_are_counted(dataset: Path) -> None:
    label(dataset).write_text("7 0.1 0.1 0.4 0.1 0.4 0.4\n" * 33)
    garbage(dataset)
    with pytest.raises(DatasetError) as caught:
        check_dataset(dataset / "data.yaml").require()
    text = str(caught.value)
    assert "34 faults: 33 × class mismatch, 1 × unreadable picture" in text
    assert text.count("\n  /") == 20
    assert "… and 14 more" in text


@pytest.mark.parametrize(("name", "class_name"), [("bearing", "Defect"), ("tube", "capp")])
def test_the_users_own_sets_are_found_by_name(pristine: Path, name: str, class_name: str) -> None:
    report = check_dataset(name, root=pristine)
    assert report.names == (class_name,)
    assert not report.faults
    assert report.splits["train"].pictures == 4
    with pytest.raises(DatasetError, match="--root"):
        check_dataset(name)
    with pytest.raises(DatasetError, match="bearing, tube"):
        find_dataset("gearbox")


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder"):
        check_dataset("tube", root=tmp_path / "nowhere")


def test_the_resolved_file_means_the_same_from_anywhere(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset)
    report = check_dataset("data.yaml")
    resolved = write_resolved(report, tmp_path / "run" / "data.yaml")
    monkeypatch.chdir(tmp_path)
    again = check_dataset(resolved)
    assert (again.splits, again.names) == (report.splits, report.names)


def test_labels_lie_where_the_last_folder_images_says() -> None:
    assert label_of(Path("/a/images/b/images/train/x.y.jpg")) == Path("/a/images/b/labels/train/x.y.txt")
    assert label_of(Path("/a/pictures/x.jpg")) == Path("/a/pictures/x.txt")


def test_the_command_checks_before_it_trains(cli, dataset: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    checked = cli("train", "yolo11n-seg.yaml", dataset, "--check-only")
    assert checked.returncode == 0
    assert "train: 4 pictures" in checked.stdout
    label(dataset).write_text("3 0.1 0.1 0.4 0.1 0.4 0.4\n")
    trained = cli("train", "yolo11n-seg.yaml", dataset, "--out", tmp_path / "run")
    assert trained.returncode == 2
    assert f"{label(dataset)}:1: its class 3 is not among" in trained.stderr
    assert "Traceback" not in trained.stderr
    assert not (tmp_path / "run").exists()
