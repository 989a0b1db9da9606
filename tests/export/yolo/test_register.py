"""What ``import lineside.export`` does to ultralytics: in a fresh process, in every rank, once, and for known versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.zoo import checkpoint
from lineside.export.synth.dataset import write_dataset
from lineside.export.ultra import load_model
from lineside.export.yolo import hook, register

TESTS = Path(__file__).resolve().parents[2]


def python(code: str, *words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that knows nothing."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 8 + 4 pictures of 64 px."""
    return write_dataset("tube", tmp_path_factory.mktemp("sets") / "tube", 8, 4, 64, seed=1)


class TestFreshProcess:
    def test_importing_it_imports_neither_torch_nor_ultralytics(self, tmp_path: Path) -> None:
        code = "import sys, lineside.export; print(sorted({'torch', 'ultralytics', 'numpy'} & set(sys.modules)))"
        assert python(code, folder=tmp_path).stdout.strip() == "[]"

    @pytest.mark.parametrize("first", ["lineside.export", "ultralytics.engine.model"])
    def test_a_name_of_ours_is_known_whoever_was_imported_first(self, first: str, tmp_path: Path) -> None:
        code = (
            f"import {first}\nimport lineside.export\nfrom ultralytics import YOLO\n"
            "print(type(YOLO('yolo11s-seg-cg.yaml').model.model[3]).__name__)"
        )
        done = python(code, folder=tmp_path)
        assert done.stdout.split()[-1:] == ["CGDown"], done.stderr

    def test_without_it_ultralytics_knows_no_such_name(self, tmp_path: Path) -> None:
        done = python("from ultralytics import YOLO\nYOLO('yolo11s-seg-cg.yaml')", folder=tmp_path)
        assert "FileNotFoundError" in done.stderr

    @pytest.mark.slow
    def test_a_checkpoint_goes_on_training(self, dataset: Path, tmp_path: Path) -> None:
        best = checkpoint(load_model("yolo11n-seg-cg.yaml"), tmp_path / "best.pt", 64)
        code = (
            "import sys, torch\ntorch.set_num_threads(1)\nimport lineside.export\nfrom ultralytics import YOLO\n"
            "yolo = YOLO(sys.argv[1])\n"
            "yolo.train(data=sys.argv[2], epochs=1, imgsz=64, batch=4, workers=0, plots=False, amp=False, val=False,\n"
            "           device='cpu', project=sys.argv[3], name='run')\n"
            "print(type(yolo.model.model[3]).__module__, yolo.model.yaml['nc'])"
        )
        done = python(code, best, dataset, tmp_path, folder=tmp_path)
        assert done.stdout.splitlines()[-1] == "lineside.export.yolo.cg 1", done.stderr[-2000:]
        assert (tmp_path / "run" / "weights" / "best.pt").is_file()


@pytest.mark.slow
def test_ranks_of_a_training_build_the_model(dataset: Path, tmp_path: Path) -> None:
    """The script and the state that ultralytics writes for its ranks name none of our files; two ranks run it (gloo)."""
    code = (
        "import sys, torch\nsys.path.insert(0, sys.argv[3])\nimport lineside.export\nfrom ultralytics import YOLO\n"
        "from helpers.ranks import CpuRanks\n"
        "yolo = YOLO('yolo11n-seg-cg.yaml')\n"
        "yolo.train(trainer=CpuRanks, data=sys.argv[1], epochs=1, imgsz=64, batch=4, workers=0, plots=False, amp=False,\n"
        "           device='cpu', project=sys.argv[2], name='run')\n"
        "print(type(yolo.model.model[3]).__module__, yolo.model.yaml['nc'])"
    )
    done = python(code, dataset, tmp_path, TESTS, folder=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["lineside.export.yolo.cg 1"], done.stderr[-12000:]


class TestOnce:
    def test_doing_it_again_changes_nothing(self) -> None:
        from ultralytics.nn import tasks
        from ultralytics.utils.callbacks.base import default_callbacks

        before = [tasks.parse_model, tasks.yaml_model_load, tasks.SegmentationModel.init_criterion]
        for _ in range(3):
            hook.install()
            register.apply()
        assert before == [tasks.parse_model, tasks.yaml_model_load, tasks.SegmentationModel.init_criterion]
        assert not hasattr(tasks.parse_model.__lineside_wraps__, register.MARK)
        assert default_callbacks["on_pretrain_routine_end"].count(register.own_validator) == 1
        assert sum(isinstance(finder, hook._Finder) for finder in sys.meta_path) == 1

    def test_structures_without_our_blocks_go_to_ultralytics_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from lineside.export.yolo import parser

        monkeypatch.setattr(parser, "parse", lambda *arguments: pytest.fail("not one of ours"))
        assert load_model("yolo11n-seg.yaml").yaml["nc"] == 80


class TestUnknownVersions:
    def test_a_model_of_ours_is_refused_in_words(self, tmp_path: Path) -> None:
        code = (
            "import ultralytics, lineside.export\nfrom ultralytics import YOLO\n"
            "for version in ('8.3.0', '8.4.189', '8.5.0', '9.0.1', 'nightly'):\n"
            "    ultralytics.__version__ = version\n"
            "    print(YOLO('yolo11n-seg.yaml').model.yaml['nc'])\n"
            "    try:\n        YOLO('yolo11n-seg-cg.yaml')\n"
            "    except Exception as error:\n        print(type(error).__name__, error)"
        )
        said = python(code, folder=tmp_path).stdout.splitlines()[-10:]  # ultralytics greets who calls it first
        assert said[::2] == ["80"] * 5
        for version, sentence in zip(("8.3.0", "8.4.189", "8.5.0", "9.0.1", "nightly"), said[1::2], strict=True):
            assert sentence.startswith(
                "MissingPackage Models with Lineside's own blocks are built with ultralytics 8.4."
            )
            assert f"the installed {version} is not one of them" in sentence and "pip install" in sentence

    def test_another_parser_is_refused_too(self, tmp_path: Path) -> None:
        code = (
            "import ultralytics.nn.tasks as tasks\ntheirs = tasks.parse_model\n"
            "tasks.parse_model = lambda cfg, channels: theirs(cfg, channels)\nimport lineside.export\n"
            "from lineside.export.ultra import load_model\n"
            "try:\n    load_model('yolo11n-seg-cg.yaml')\nexcept Exception as error:\n    print(type(error).__name__, error)"
        )
        assert "has another parse_model" in python(code, folder=tmp_path).stdout

    def test_so_is_a_checkpoint_with_blocks_of_ours(self, tmp_path: Path) -> None:
        code = (
            "import torch, ultralytics\nfrom lineside.export.ultra import load_model\n"
            "for name in ('yolo11n-seg', 'yolo11n-seg-cg'):\n"
            "    torch.save({'model': load_model(f'{name}.yaml')}, f'{name}.pt')\n"
            "ultralytics.__version__ = '9.0.1'\n"
            "for name in ('yolo11n-seg', 'yolo11n-seg-cg'):\n"
            "    try:\n        print(load_model(f'{name}.pt').task)\n"
            "    except Exception as error:\n        print(type(error).__name__, error)"
        )
        plain, ours = python(code, folder=tmp_path).stdout.splitlines()[-2:]
        assert plain == "segment"
        assert ours.startswith("MissingPackage Models with Lineside's own blocks") and "the installed 9.0.1" in ours
