"""A station file: it runs what it says, and what cannot be meant is refused with its place in the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.media import pictures
from lineside.pipelines.station import Station, job_of, parse_station, read_station
from lineside.runtime.errors import StationError

PLAIN: dict[str, Any] = {"station": 1, "bundle": "x.bundle", "sources": ["parts"]}


@pytest.fixture
def place(bundle: Path, tmp_path: Path) -> Path:
    """A folder that holds a bundle, pictures and a station file beside them."""
    shutil.copytree(bundle, tmp_path / "line" / "some.bundle")
    pictures(tmp_path / "line" / "parts", [(96, 160)] * 3)
    return tmp_path / "line"


def write(place: Path, **more: Any) -> Path:
    file = place / "station.yaml"
    file.write_text(yaml.safe_dump({**PLAIN, "bundle": "some.bundle", **more}), encoding="utf-8")
    return file


class TestRunning:
    def test_it_does_what_run_does_with_paths_relative_to_the_file(self, cli, place: Path, tmp_path: Path) -> None:
        file = write(place, segment={"conf": 0.01, "iou": 0.5}, sinks=["jsonl", "csv"], folder="found", limit=2)
        done = cli("station", file, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["counts"]["inspected"] == 2
        assert sorted(path.name for path in (place / "found").iterdir()) == ["results.csv", "results.jsonl"]
        words = ["run", place / "some.bundle", place / "parts", "--conf", "0.01", "--iou", "0.5", "--limit", "2"]
        other = cli(*words, "--save-jsonl", "--out", tmp_path / "other", "--json", cwd=tmp_path)
        assert other.returncode == 0, other.stderr
        mine, theirs = (
            [json.loads(line)["detections"] for line in (folder / "results.jsonl").read_text().splitlines()]
            for folder in (place / "found", tmp_path / "other")
        )
        assert mine == theirs
        assert any(mine)

    def test_check_reads_and_leaves_nothing(self, cli, place: Path) -> None:
        done = cli("station", write(place, folder="found"), "--check")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["segment"]["masks"] == "native"
        assert not (place / "found").exists()

    def test_out_takes_the_place_of_the_folder_in_the_file(self, cli, place: Path, tmp_path: Path) -> None:
        done = cli("station", write(place, folder="found", sinks=["csv"]), "--out", tmp_path / "here")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "here" / "results.csv").is_file() and not (place / "found").exists()

    def test_a_camera_number_and_a_synthetic_source_are_no_paths(self, tmp_path: Path) -> None:
        station = parse_station(yaml.safe_dump({**PLAIN, "sources": ["0", 1, "synthetic:64x48"]}).encode(), "s.yaml")
        assert [(it.kind, it.what) for it in job_of(station, tmp_path).sources] == [
            ("camera", "0"),
            ("camera", "1"),
            ("synthetic", "64x48"),
        ]

    @pytest.mark.parametrize("word", ["2026", 2026, "parts", "part*/*.png", "**/*.png"])
    def test_sources_lie_beside_the_file_whatever_they_and_its_folder_are_called(
        self, tmp_path: Path, word: str | int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = tmp_path / "line [1]*"
        for folder in (place, tmp_path):  # The second is where the command is given: none of its business.
            pictures(folder / "2026", [(60, 60)])
            pictures(folder / "parts", [(60, 60)])
        monkeypatch.chdir(tmp_path)
        found = job_of(parse_station(yaml.safe_dump({**PLAIN, "sources": [word]}).encode(), "s.yaml"), place).sources
        assert found and all(it.kind == "picture" and Path(it.what).is_relative_to(place) for it in found)

    @pytest.mark.parametrize(("imgsz", "size"), [(96, (96, 96)), ([96, 160], (96, 160))])
    def test_another_input_size_reaches_the_model(self, cli, place: Path, imgsz: Any, size: tuple[int, int]) -> None:
        file = write(place, segment={"imgsz": imgsz})
        assert job_of(read_station(file), place).imgsz == size
        done = cli("station", file)  # The bundle is static.
        assert done.returncode == 2 and f"an input of {size[0]}x{size[1]} (HxW)" in done.stderr

    def test_check_of_a_name_that_is_no_unicode(self, cli, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_text('station: 1\nbundle: "\\udcff.bundle"\nsources: [synthetic]\n')
        done = cli("station", tmp_path / "s.yaml", "--check")
        assert done.returncode == 0 and json.loads(done.stdout)["bundle"] == "\udcff.bundle"


WRONG = [
    ({"conf": 0.5}, "no use for `conf`; known here: station, bundle"),
    ({"segment": {"cnf": 0.5}}, "no use for `cnf` in `segment`; known here: imgsz, conf, iou"),
    ({"segment": {"conf": 1.0}}, "at `segment.conf`"),
    ({"segment": {"conf": float("nan")}}, "at `segment.conf`"),
    ({"segment": {"conf": "high"}}, "at `segment.conf`"),
    ({"segment": {"threads": 0}}, "at `segment.threads`"),
    ({"segment": {"masks": "fine"}}, "at `segment.masks`.*allowed: native, proto, none"),
    ({"segment": 3}, "at `segment`: expected a mapping"),
    ({"sinks": ["jsonl", "cvs"]}, r"at `sinks\[1\]`.*allowed: jsonl, csv"),
    ({"sinks": ["csv", "csv"]}, "twice at `sinks`"),
    ({"sources": []}, "at `sources`"),
    ({"sources": [-1]}, r"at `sources\[0\]`"),
    ({"segment": {"imgsz": 0}}, "at `segment.imgsz`"),
    ({"segment": {"imgsz": [64]}}, "at `segment.imgsz`"),
    ({"sources": "parts"}, "at `sources`: expected a list"),
    ({"policy": "newest"}, "at `policy`.*write latest, every"),
    ({"station": 2}, "at `station`.*allowed: 1"),
    ({"bundle": ""}, "at `bundle`"),
    ({"limit": 0}, "at `limit`"),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=[says[:30] for _, says in WRONG])
def test_what_cannot_be_meant_is_refused_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(StationError, match=rf"line\.yaml.*{says}"):
        parse_station(yaml.safe_dump({**PLAIN, **change}).encode(), "line.yaml")


TEXTS = [
    (b"a: &x [1]\nb: *x\n", "line 1 .*anchors"),
    (b"bundle: a\nbundle: b\n", "'bundle' stands twice"),
    (b"sources: [parts\n", "line 2"),
    (b"\xff\xfe\x00", "is not the YAML"),
    (b"[" * 20_000, "is not the YAML"),
    (b"", "expected a mapping"),
    (b"- 1\n", "expected a mapping"),
    (b"a: !!python/object/apply:os.system ['true']\n", "is not the YAML"),
    (b"station: 1\nbundle: 2026-13-77 99:99\n", "s.yaml"),
]


@pytest.mark.parametrize(("text", "says"), TEXTS, ids=[says for _, says in TEXTS])
def test_other_text_is_refused_in_a_sentence(text: bytes, says: str) -> None:
    with pytest.raises(StationError, match=says):
        parse_station(text, "s.yaml")


def test_ten_lines_cannot_stand_for_a_billion_words() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(StationError, match="anchors and aliases are not read here"):
        parse_station("\n".join(lines).encode(), "s.yaml")


@pytest.mark.parametrize("file", ["missing.yaml", "folder", "large.yaml"])
def test_a_file_that_is_none_ends_in_one_sentence(cli, tmp_path: Path, file: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large.yaml").write_bytes(b"#" * (1 << 20) + b"\n")
    done = cli("station", tmp_path / file)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") <= 3 and "Traceback" not in done.stderr


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    bundle=texts,
    sources=st.lists(texts, min_size=1, max_size=3),
    conf=st.none() | st.floats(0, 0.99),
    sinks=st.none() | st.lists(st.sampled_from(["jsonl", "csv", "xlsx", "coco", "images", "video"]), unique=True),
    policy=st.none() | st.sampled_from(["latest", "every", "every:3", "drop-oldest:9"]),
)
@example(bundle="\x85", sources=["\u2028"], conf=None, sinks=None, policy=None)
def test_what_is_written_is_what_is_read(bundle, sources, conf, sinks, policy) -> None:
    said = {**PLAIN, "bundle": bundle, "sources": sources, "segment": {"conf": conf}, "sinks": sinks, "policy": policy}
    station = msgspec.convert(said, Station)
    assert parse_station(yaml.safe_dump(said).encode(), "s.yaml") == station
    if "\x85" not in "".join(
        [bundle, *sources]
    ):  # a line break of YAML, which PyYAML does not escape where it writes plain
        assert parse_station(yaml.safe_dump(said, allow_unicode=True).encode(), "s.yaml") == station
