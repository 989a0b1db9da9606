"""``lineside train``: what a run leaves, and how an interrupted one goes on. Real training, on toy sets."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lineside.export.results import best_row, draw_curves
from lineside.export.synth.dataset import write_dataset
from lineside.export.train import OTHER_WEIGHTS, Progress, TrainOptions, train
from lineside.export.ultra import load_model, model_yaml
from lineside.runtime.errors import BadOption, WeightsError

SMALL = ("--imgsz", "64", "--batch", "4", "--seed", "3", "--threads", "1", "--device", "cpu")
DELIVERED = {"best.pt", "best.safetensors", "curves.png", "results.csv", "settings.json", "work"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 8 + 4 pictures of 64 px."""
    return write_dataset("tube", tmp_path_factory.mktemp("sets") / "tube", 8, 4, 64, seed=1)


@pytest.fixture(scope="module")
def run(cli, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """The folder of a finished run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "one"
    done = cli("train", "yolo11n-seg.yaml", dataset, "--epochs", 1, "--out", out, *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["best"] == str(out / "best.pt")
    assert "train: 8 pictures" in done.stderr
    assert "epoch 1/1" in done.stderr
    return out


@pytest.mark.slow
def test_a_run_leaves_weights_curves_and_settings(run: Path, dataset: Path) -> None:
    assert {path.name for path in run.iterdir()} == DELIVERED
    settings = json.loads((run / "settings.json").read_text())
    assert settings["model"] == "yolo11n-seg.yaml"
    assert settings["names"] == ["capp"]
    assert settings["pictures"] == {"train": 8, "val": 4}
    assert settings["data"] == str(dataset)
    used = settings["ultralytics"]
    assert (used["nbs"], used["batch"], used["imgsz"], used["seed"], used["mosaic"]) == (4, 4, 64, 3, 0.0)
    assert (run / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(list(csv.DictReader((run / "results.csv").open()))) == 1


@pytest.mark.slow
def test_the_safetensors_copy_is_the_same_model(run: Path) -> None:
    from safetensors import safe_open

    pickled, copied = load_model(run / "best.pt"), load_model(run / "best.safetensors")
    assert copied.names == pickled.names == {0: "capp"}
    assert model_yaml(copied)["nc"] == 1
    state = copied.state_dict()
    assert state.keys() == pickled.state_dict().keys()
    for name, value in pickled.state_dict().items():
        assert np.array_equal(value.numpy(), state[name].numpy()), name
    with safe_open(str(run / "best.safetensors"), framework="np") as file:
        metadata = file.metadata()
    assert metadata["imgsz"] == "64"
    assert metadata["source_sha256"] == json.loads((run / "settings.json").read_text())["weights_sha256"]
    assert load_model(run / "best.pt", safe=True).names == {0: "capp"}


@pytest.mark.slow
def test_a_finished_run_is_neither_resumed_nor_written_over(cli, run: Path, dataset: Path) -> None:  # type: ignore[no-untyped-def]
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    resumed = cli("train", "yolo11n-seg.yaml", dataset, "--out", run, "--resume", *SMALL)
    assert (resumed.returncode, "is finished" in resumed.stderr) == (2, True), resumed.stderr
    again = cli("train", "yolo11n-seg.yaml", dataset, "--out", run, *SMALL)
    assert (again.returncode, "is not empty" in again.stderr) == (2, True), again.stderr
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(cli, dataset: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    words = ["train", "yolo11n-seg.yaml", str(dataset), "--epochs", "3", "--out", str(out), *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "lineside", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1/3"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(120) == 130, rest
    assert "--resume" in rest
    assert not (out / "best.pt").exists()
    done = cli(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == DELIVERED
    epochs = [int(float(row["epoch"])) for row in csv.DictReader((out / "results.csv").open())]
    assert epochs == [1, 2, 3]
    assert "epoch 1/3" not in done.stderr  # it did not begin anew


@pytest.mark.slow
def test_trained_weights_are_a_start_for_further_training(run: Path, dataset: Path, tmp_path: Path) -> None:
    import torch

    seen = []

    def note(progress: Progress) -> None:
        seen.append((progress, torch.get_num_threads()))

    best = train(
        run / "best.pt",
        dataset,
        tmp_path / "next",
        TrainOptions(epochs=1, imgsz=64, batch=64, threads=3, extra={"lr0": 0.0, "warmup_epochs": 0.0}),
        on_progress=note,
    )
    settings = json.loads((best.parent / "settings.json").read_text())
    assert settings["ultralytics"]["batch"] == settings["ultralytics"]["nbs"] == 8  # no more than there are
    assert settings["ultralytics"]["warmup_bias_lr"] == 0  # else a stem with LayerNorm never learns
    last, threads = seen[-1]
    assert threads == 3
    assert last.epoch == last.epochs == 1
    assert "metrics/mAP50(M)" in last.metrics
    # A learning rate of zero moves no weight: training really began from the file given.
    start, end = load_model(run / "best.pt"), load_model(best)
    for (name, before), (_, after) in zip(start.named_parameters(), end.named_parameters(), strict=True):
        assert np.array_equal(before.detach().numpy(), after.detach().numpy()), name


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"epochs": 0}, "--epochs is at least 1"),
        ({"imgsz": 100}, "multiple of 32.*Take 128"),
        ({"batch": 0}, "--batch"),
        ({"seed": -1}, "--seed"),
        ({"imgsz": 64, "extra": {"learning": 1}}, "learning"),
        ({"imgsz": 64, "extra": {"lr0": "fast"}}, "lr0"),
        ({"imgsz": 64, "extra": {"name": "mine"}}, "--set name is refused"),
        ({"imgsz": 64, "extra": {"save": False}}, "--set save is refused"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(
    options: dict[str, object], why: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadOption, match=why):
        train("yolo11n-seg.yaml", dataset, tmp_path / "run", TrainOptions(**options))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gone.pt", None, "no weights file"),
        ("broken.pt", b"no zip at all", "cannot be loaded"),
        ("model.onnx", b"", "no .pt checkpoint"),
        ("nope-seg.yaml", None, "no model yaml"),
        ("yolo11n.yaml", None, "needs one for segment"),
        ("best.safetensors", b"0123456789", "Give the .pt"),
    ],
)
def test_a_model_that_is_none_is_explained(
    name: str, content: bytes | None, why: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(WeightsError, match=why):
        train(name, dataset, tmp_path / "run", TrainOptions(epochs=1, imgsz=64))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", OTHER_WEIGHTS)
def test_a_checkpoint_that_a_setting_names_is_looked_at_first(setting: str, dataset: Path, tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    evil = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, evil)
    for name, why in ((evil, "refused, nothing of it was run"), (tmp_path / "gone.pt", "no weights file")):
        options = TrainOptions(epochs=1, imgsz=64, extra={setting: str(name)})
        with pytest.raises(WeightsError, match=why):
            train("yolo11n-seg.yaml", dataset, tmp_path / "run", options)
    assert list(tmp_path.iterdir()) == [evil]


@pytest.mark.slow
def test_training_starts_from_the_weights_that_a_setting_names(cli, run: Path, dataset: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    words = (
        "--epochs",
        1,
        "--out",
        tmp_path / "run",
        *SMALL,
        "--seed",
        4,
        "--set",
        f"pretrained={run / 'best.pt'}",
        "--set",
        "lr0=0",
    )
    done = cli("train", "yolo11n-seg.yaml", dataset, *words, "--set", "warmup_epochs=0")
    assert done.returncode == 0, done.stderr
    assert f"warning: {run / 'best.pt'} is a pickle" in done.stderr
    before, after = load_model(run / "best.pt"), load_model(tmp_path / "run" / "best.pt")
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=2e-3)  # stored in half precision, not trained


def test_a_damaged_safetensors_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "odd.safetensors").write_bytes(b"0123456789")
    with pytest.raises(WeightsError, match="no safetensors file"):
        load_model(tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match="no weights file"):
        load_model(tmp_path / "gone.safetensors")


def test_a_checkpoint_that_runs_code_is_refused_by_safe_loading(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError):
        load_model(tmp_path / "evil.pt", safe=True)
    assert not (tmp_path / "ran").exists()


def test_random_weights_are_seeded_and_leave_the_callers_state_alone() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (load_model("yolo11n-seg.yaml", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    weights = [next(model.parameters()).detach() for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not first.training
    assert dict(first.names)[0] == "0"  # type: ignore[arg-type]


def test_ultralytics_is_offline_and_installs_nothing() -> None:
    script = (
        "import os, sys\n"
        "from lineside.export.ultra import prepare\n"
        "prepare()\n"
        "import ultralytics.utils as u, ultralytics.utils.checks as c\n"
        "assert not u.AUTOINSTALL and not c.AUTOINSTALL and not u.ONLINE\n"
        "assert str(u.USER_CONFIG_DIR).startswith(os.environ['YOLO_CONFIG_DIR'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_best_epoch_is_the_one_ultralytics_keeps() -> None:
    def row(epoch: int, box: float, mask: float) -> dict[str, float]:
        return {"epoch": epoch, "metrics/mAP50-95(B)": box, "metrics/mAP50-95(M)": mask}

    assert best_row([row(1, 0.55, 0.35), row(2, 0.6, 0.34), row(3, 0.1, 0.2)])["epoch"] == 2
    assert best_row([row(1, 0.0, 0.0), row(2, 0.0, 0.0)])["epoch"] == 2
    assert best_row([]) == {}


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_best_epoch(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    threads = []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = TrainOptions(epochs=2, imgsz=64, batch=4, extra={"save_period": 1})
    best = train(
        "yolo11n-seg.yaml",
        dataset,
        tmp_path / "run",
        options,
        on_progress=lambda _: threads.append(torch.get_num_threads()),
    )
    assert threads[-1] == 1  # as the environment says
    epoch = int(json.loads((best.parent / "settings.json").read_text())["best"]["epoch"])
    kept = torch.load(best.parent / "work" / "weights" / f"epoch{epoch - 1}.pt", weights_only=False)["ema"]
    for name, value in load_model(best).state_dict().items():
        assert np.array_equal(value.numpy(), kept.state_dict()[name].half().to(value.dtype).numpy()), name


def test_curves_are_drawn_from_any_number_of_epochs(tmp_path: Path) -> None:
    for count in (0, 1, 5):
        rows = [{"epoch": float(i), "train/box_loss": 3.0 - i, "metrics/mAP50(M)": i / 5} for i in range(count)]
        draw_curves(rows, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
