"""What a pickle names is read off it without running it, hidden as it may be, and what no model needs is never loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from helpers.sick_models.weights import Attack
from lineside import cli
from lineside.export.class_paths import ClassPath, class_paths
from lineside.export.hostile_names import hostile
from lineside.export.results import write_safetensors
from lineside.export.ultra import load_model, prepare

CALL = b")R."
"""Calls what lies on the stack with nothing, and ends."""


def text(word: str) -> bytes:
    """An instruction that puts a word on the stack."""
    return b"\x8c" + bytes([len(word)]) + word.encode()


HIDDEN = {
    "plain": b"\x80\x04" + text("posix") + text("getpid") + b"\x93" + CALL,
    "old form": b"\x80\x02cposix\ngetpid\n" + CALL,
    "of Python 2": b"\x80\x02c__builtin__\ninput\n" + CALL,
    "subprocess under its old name": b"\x80\x02ccommands\ngetoutput\n.",
    "instance": b"\x80\x02(iposix\ngetpid\n.",
    "from the memo": b"\x80\x04" + text("posix") + b"\x940" + text("getpid") + b"\x940h\x00h\x01\x93" + CALL,
    "behind decoys": b"\x80\x04" + text("posix") + text("getpid") + text("collections") + text("OrderedDict") + b"00\x93" + CALL,
    "behind a list of decoys": b"\x80\x04" + text("posix") + text("getpid") + b"](" + text("a") + text("b") + b"e0\x93" + CALL,
    "twice the same": b"\x80\x04" + text("os") + b"2\x93.",
    "made up": b"\x80\x04" + text("posix") + b"cbuiltins\nstr\n)R\x93" + CALL,
    "through a module of torch": b"\x80\x04" + text("torch.serialization") + text("os.getpid") + b"\x93" + CALL,
    "a module": b"\x80\x04" + text("torch") + text("serialization") + b"\x93.",
    "globals of a method": b"\x80\x04" + text("torch.nn") + text("Module.__init__.__globals__") + b"\x93.",
    "a method of paths": b"\x80\x04" + text("pathlib") + text("Path.cwd") + b"\x93" + CALL,
    "another pickle": b"\x80\x04" + text("torch.storage") + text("_load_from_bytes") + b"\x93.",
}  # fmt: skip
"""Pickles that look something up, each in another way; what they call does no harm."""


def in_zip(path: Path, *bodies: bytes) -> Path:
    """A file of the form of torch's, with a pickle for each folder in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for index, body in enumerate(bodies):
            archive.writestr(f"best{index}/data.pkl", body)
            archive.writestr(f"best{index}/version", "3\n")
    return path


@pytest.mark.parametrize("way", HIDDEN)
def test_a_hidden_name_is_found(way: str, tmp_path: Path) -> None:
    assert hostile(class_paths(in_zip(tmp_path / "best.pt", HIDDEN[way])))


def test_names_are_those_that_the_unpickler_looks_up(tmp_path: Path) -> None:
    for way, body in HIDDEN.items():
        seen: list[ClassPath] = []

        class Watching(pickle.Unpickler):
            def find_class(self, module: str, name: str, seen: list[ClassPath] = seen) -> object:
                seen.append(ClassPath(module, name))
                return str if name == "str" else lambda: None

        with contextlib.suppress(Exception):
            Watching(io.BytesIO(body)).load()
        found = class_paths(in_zip(tmp_path / "best.pt", body))
        old = {
            "__builtin__": "builtins",
            "commands": "subprocess",
        }  # what the unpickler itself changes behind that door
        renamed = [ClassPath(old.get(it.module, it.module), it.name) for it in seen]
        if way != "made up":
            assert list(found) == renamed and found, way


def test_every_pickle_of_a_file_counts(tmp_path: Path) -> None:
    harmless = pickle.dumps({"a": 1})
    two = in_zip(tmp_path / "two.pt", harmless, HIDDEN["plain"])
    assert hostile(class_paths(two)) == (ClassPath("posix", "getpid"),)
    (tmp_path / "old.pt").write_bytes(harmless * 4 + HIDDEN["plain"])
    assert hostile(class_paths(tmp_path / "old.pt")) == (ClassPath("posix", "getpid"),)


def test_nothing_of_an_honest_checkpoint_is_hostile(tmp_path: Path) -> None:
    prepare()
    best = checkpoint_of(tmp_path, "yolo11n-seg-edge.yaml")
    named = class_paths(best)
    assert len(named) > 20 and not hostile(named)
    usual = ("functools.partial", "math.sqrt", "argparse.Namespace", "numpy.core.multiarray._reconstruct", "torch.device",
             "torch.nn.functional.silu", "torch._utils._rebuild_tensor_v2", "operator.itemgetter", "code.blocks.EMA",
             "pathlib.PosixPath", "_codecs.encode", "collections.OrderedDict", "logging.getLogger")  # fmt: skip
    assert not hostile(ClassPath(*name.rsplit(".", 1)) for name in usual)


def checkpoint_of(folder: Path, name: str) -> Path:
    """A checkpoint of a model that nobody trained."""
    torch.save({"ema": load_model(name), "train_args": {"imgsz": 64}}, folder / "best.pt")
    return folder / "best.pt"


@pytest.mark.parametrize("words", [["--safe"], []])
@pytest.mark.parametrize("form", ["zip", "old"])
def test_doctor_reports_it_and_runs_nothing(
    words: list[str], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    for function, arguments in ((os.system, (f"touch {mark}",)), (eval, (f"open({str(mark)!r}, 'w')",))):
        torch.save(
            {"model": Attack(function, *arguments)}, tmp_path / "best.pt", _use_new_zipfile_serialization=form == "zip"
        )
        assert cli.main(["doctor", str(tmp_path / "best.pt"), "--json", *words]) == 1
        (finding,) = json.loads(capsys.readouterr().out)["findings"]
        assert finding["rule"] == "hostile-pickle" and finding["severity"] == "will-not-export"
        assert finding["where"] == [f"{function.__module__}.{function.__name__}"]
        assert not mark.exists()


def test_modules_that_a_hostile_pickle_names_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "trap_on_import.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    body = b"\x80\x02ctrap_on_import\nBlock\n0cposix\nsystem\n."
    assert cli.main(["doctor", str(in_zip(tmp_path / "best.pt", body))]) == 1
    assert not mark.exists()


def test_doctor_with_safe_looks_at_the_copy_that_export_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    torch.save({"model": Attack(os.system, f"touch {tmp_path / 'mark'}")}, tmp_path / "best.pt")
    write_safetensors(load_model("yolo11n-seg.yaml"), tmp_path / "best.pt", tmp_path / "best.safetensors", 64)
    assert cli.main(["doctor", str(tmp_path / "best.pt"), "--safe"]) == 0, capsys.readouterr()
    assert not (tmp_path / "mark").exists()
