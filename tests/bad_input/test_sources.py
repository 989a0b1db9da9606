"""What lies in a folder of pictures or videos and is none: named, counted, and the rest goes on."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.media import picture, pictures, video
from helpers.running import records, run

FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")


def encoded(ending: str, size: tuple[int, int] = (120, 160)) -> bytes:
    return cv2.imencode(ending, picture(size))[1].tobytes()  # type: ignore[no-any-return]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png() -> bytes:
    """A hundred bytes that promise ten thousand million pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(20) + data[middle + 20 :]


def without_root() -> list[str]:
    """A program to put in front, so that file permissions hold for root as well."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and there is no setpriv to prevent it")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "--"]


def lay_out_bad_pictures(parts: Path) -> dict[str, str]:
    """Everything that has a picture's name and is none.

    Returns:
        The reason that should be given, by name.
    """
    jpeg, png = encoded(".jpg"), encoded(".png")
    contents = {
        "zero.png": (b"", "the file is empty"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "cut off before its end"),
        "cut.png": (png[:-30], "cut off before its end"),
        "cut.bmp": (encoded(".bmp")[:-3000], "damaged or not a picture"),
        "cut.webp": (encoded(".webp")[:-300], "damaged or not a picture"),
        "crc.png": (damaged(png), "checksum is wrong"),
        "huge.png": (huge_png(), "larger than OpenCV reads"),
        "text.jpg": (b"no picture\n" * 20, "damaged or not a picture"),
        "denied.png": (png, "Permission denied"),
    }
    for name, (data, _) in contents.items():
        (parts / name).write_bytes(data)
    (parts / "denied.png").chmod(0)
    (parts / "folder.png").mkdir()
    (parts / "dangling.png").symlink_to("nowhere.png")
    (parts / "loop.png").symlink_to("loop.png")
    os.mkfifo(parts / "pipe.png")
    before = os.getcwd()
    os.chdir(parts)  # The name of a socket has a short limit.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
    os.chdir(before)
    return {name: reason for name, (_, reason) in contents.items()} | {
        "folder.png": "it is a folder",
        "dangling.png": "a link to something that is not there",
        "loop.png": "a link to something that is not there",
        "pipe.png": "it is a pipe",
        "socket.png": "it is a socket",
    }


def test_unreadable_pictures_are_named_and_the_rest_go_on(bundle: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(120, 160)] * 3)
    reasons = lay_out_bad_pictures(tmp_path / "parts")
    ended = run(
        bundle,
        "parts",
        "--out",
        "out",
        "--save-jsonl",
        "--save-images",
        cwd=tmp_path,
        prefix=without_root(),
        timeout=60,
    )
    assert ended.code == 1
    assert (ended.counts["entered"], ended.counts["inspected"]) == (len(reasons) + 3, 3)
    assert ended.counts["failed"] == len(reasons) == len(ended.errors)
    lines = {Path(line["file"]).name: line for line in records(tmp_path / "out" / "results.jsonl")}
    for name, reason in reasons.items():
        assert lines[name]["error"].startswith(f"cannot read parts/{name}: ") and reason in lines[name]["error"]
        assert lines[name]["error"] in ended.errors
    good = [line for line in lines.values() if "error" not in line]
    assert len(good) == 3 and all(line["detections"] for line in good)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_nothing_but_unreadable_pictures_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for k in range(3):
        (tmp_path / "parts" / f"{k}.png").write_bytes(b"x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    for out in ([], ["--out", "new/deeper"], ["--out", "mine"]):
        ended = run(bundle, "parts", *out, cwd=tmp_path)
        assert ended.code == 2
        assert ended.errors[-1].startswith("error: nothing could be inspected: cannot read parts/0.png")
    assert sorted(it.name for it in tmp_path.iterdir()) in (["mine", "parts"], ["mine", "parts", "runs"])
    assert not list(tmp_path.glob("runs/*"))
    assert [it.name for it in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_word_that_is_a_link_to_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "part.png").symlink_to("gone.png")
    ended = run(bundle, "part.png", cwd=tmp_path)
    assert ended.code == 2 and ended.errors == ["error: part.png is a link to something that is not there"]


def save(path: Path, image: Image.Image, **options: object) -> None:
    image.save(path, **options)  # type: ignore[arg-type]


def lay_out_unusual_pictures(parts: Path) -> dict[str, tuple[int, int]]:
    """Pictures that are whole but out of the common.

    Returns:
        Height and width as they should be inspected, by name.
    """
    parts.mkdir()
    bgr = picture((120, 160))
    rgb = Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))
    cv2.imwrite(str(parts / "deep.png"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(parts / "deep.tif"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(parts / "plain.png"), bgr)
    cv2.imwrite(str(parts / "dot.png"), picture((1, 1)))
    cv2.imwrite(str(parts / "wide.png"), picture((3, 65535)))
    cv2.imwrite(str(parts / "wider.png"), picture((3, 65536)))
    cv2.imwrite(str(parts / "large.jpg"), picture((3648, 5472)))
    save(parts / "cmyk.jpg", rgb.convert("CMYK"), quality=95)
    save(parts / "palette.png", rgb.quantize(64), transparency=0)
    turned = Image.Exif()
    turned[0x0112] = 6  # The camera was held upright: to be shown turned by 90 degrees.
    save(parts / "turned.jpg", rgb, quality=95, exif=turned)
    sizes = {path.name: (120, 160) for path in parts.iterdir()}
    return (
        sizes
        | {"dot.png": (1, 1), "large.jpg": (3648, 5472), "turned.jpg": (160, 120)}
        | {
            "wide.png": (3, 65535),
            "wider.png": (3, 65536),
        }
    )


def test_pictures_out_of_the_common_are_inspected(bundle: Path, tmp_path: Path) -> None:
    sizes = lay_out_unusual_pictures(tmp_path / "parts")
    ended = run(bundle, "parts", "--out", "out", "--save-jsonl", "--save-images", cwd=tmp_path)
    reason = "a frame of shape (3, 65536, 3): both sides must be between 1 and 65535 pixels"
    assert ended.code == 1 and ended.errors == [f"parts/wider.png: {reason}"]
    lines = {Path(line["file"]).name: line for line in records(tmp_path / "out" / "results.jsonl")}
    assert lines["wider.png"]["error"] == reason
    assert {name: tuple(line["size"]) for name, line in lines.items()} == sizes
    drawn = {path.name.partition("_")[2] for path in (tmp_path / "out" / "images").iterdir()}
    assert {"plain.jpg", "wide.png"} <= drawn  # no JPEG is longer than 65500 pixels
    found = {name: line.get("detections") for name, line in lines.items()}
    assert found["plain.png"] and found["deep.png"] == found["deep.tif"] == found["plain.png"]
    assert all(len(found[name]) > 0 for name in ("cmyk.jpg", "palette.png", "large.jpg", "turned.jpg"))
    assert all(it["mask"]["size"] == [3648, 5472] for it in found["large.jpg"])


def test_damage_that_cannot_be_seen(bundle: Path, tmp_path: Path) -> None:
    """The document says so; a format that learns to see it belongs into another row."""
    (tmp_path / "parts").mkdir()
    plain = io.BytesIO()
    Image.fromarray(picture((120, 160))).save(plain, "TIFF")
    files = {ending: encoded(ending) for ending in (".bmp", ".jpg", ".ppm")} | {".tif": plain.getvalue()}
    for ending, whole in files.items():
        assert damaged(whole) != whole
        (tmp_path / "parts" / f"x{ending}").write_bytes(damaged(whole))
    ended = run(bundle, "parts", "--out", "out", "--save-jsonl", cwd=tmp_path)
    assert ended.code == 0 and ended.errors == [] and ended.counts["inspected"] == len(files)


def test_more_pages_than_one_are_said(bundle: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    page = Image.fromarray(picture((60, 80)))
    save(parts / "stack.tif", page, save_all=True, append_images=[page, page])
    save(parts / "moving.webp", page, save_all=True, append_images=[Image.fromarray(picture((60, 80), 1))])
    save(parts / "moving.png", page, save_all=True, append_images=[Image.fromarray(picture((60, 80), 1))])
    reduced = io.BytesIO()
    page.save(reduced, "TIFF", save_all=True, append_images=[page.resize((40, 30))], tiffinfo={254: 1})
    (parts / "preview.tif").write_bytes(reduced.getvalue())  # Each of its pages says that it is a smaller version.
    ended = run(bundle, "parts", "--out", "out", "--save-jsonl", cwd=tmp_path)
    assert ended.code == 1 and ended.counts["inspected"] == 4
    said = {
        f"{name} holds {count} pictures" for name, count in (("stack.tif", 3), ("moving.webp", 2), ("moving.png", 2))
    }
    assert {line.split("/")[-1].split(" and only")[0] for line in ended.errors} == said
    notes = {Path(line["file"]).name: line.get("note") for line in records(tmp_path / "out" / "results.jsonl")}
    assert notes["preview.tif"] is None and notes["stack.tif"] in ended.errors


# -------------------------------------------------------------------------------------------------------------- videos


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def film(path: Path, *options: str | Path, seconds: float = 2, size: str = "160x120") -> bytes:
    """A test film of 25 frames a second."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}", *options, path)
    return path.read_bytes()


def lay_out_bad_videos(parts: Path, scratch: Path) -> dict[str, tuple[int, str]]:
    """Videos that break, and files that are none.

    Returns:
        Least number of frames that should still be inspected, and the reason given, by name.
    """
    parts.mkdir()
    h264 = ("-c:v", "libx264", "-g", "5", "-bf", "0")
    mp4 = film(scratch / "w.mp4", *h264, "-movflags", "+faststart")
    mkv = film(scratch / "w.mkv", *h264)
    avi = film(scratch / "w.avi", "-c:v", "mjpeg")
    late = film(scratch / "l.mp4", *h264)  # Its index comes last, as a camera writes it.
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", scratch / "sound.mp4")
    ffmpeg("-i", scratch / "w.mp4", "-c", "copy", "-t", "0.0001", "-ss", "5", scratch / "none.mp4")
    contents: dict[str, tuple[bytes, int, str]] = {
        "cut.mp4": (mp4[: len(mp4) * 6 // 10], 15, "breaks off after"),
        "cut.mkv": (mkv[: len(mkv) * 6 // 10], 15, "breaks off after"),
        "cut.avi": (avi[: len(avi) * 6 // 10], 15, "breaks off after"),
        "hole.mp4": (mp4[: len(mp4) // 2] + bytes(6000) + mp4[len(mp4) // 2 + 6000 :], 35, "can be read"),
        "hole.mkv": (mkv[: len(mkv) // 2] + bytes(6000) + mkv[len(mkv) // 2 + 6000 :], 35, "can be read"),
        "noindex.mp4": (late[: len(late) * 6 // 10], 0, "damaged, cut off"),
        "sound.mp4": ((scratch / "sound.mp4").read_bytes(), 0, "has no pictures"),
        "none.mp4": ((scratch / "none.mp4").read_bytes(), 0, "has no"),
        "empty.mp4": (b"", 0, "the file is empty"),
        "text.mp4": (b"once upon a time\n" * 30, 0, "it is a text"),
        # FFmpeg takes these for lists of other files.
        "list.mp4": (b"ffconcat version 1.0\nfile ../w.mp4\n", 0, "it is a text"),
        "hls.ts": (b"#EXTM3U\n#EXTINF:4,\n../w.mp4\n#EXT-X-ENDLIST\n", 0, "it is a text"),
    }
    for name, (data, _, _) in contents.items():
        (parts / name).write_bytes(data)
    os.mkfifo(parts / "pipe.mp4")
    (parts / "gone.avi").symlink_to("nowhere.avi")
    bad = {name: (least, reason) for name, (_, least, reason) in contents.items()}
    return bad | {"pipe.mp4": (0, "it is a pipe"), "gone.avi": (0, "a link to something that is not there")}


@FFMPEG
def test_broken_videos_are_named_and_the_rest_go_on(bundle: Path, tmp_path: Path) -> None:
    reasons = lay_out_bad_videos(tmp_path / "films", tmp_path)
    video(tmp_path / "films" / "z.mp4", frames=20)
    ended = run(bundle, "films", "--out", "out", "--save-jsonl", cwd=tmp_path, timeout=120)
    lines = records(tmp_path / "out" / "results.jsonl")
    errors = {Path(line["file"]).name: line["error"] for line in lines if "error" in line}
    assert ended.code == 1 and ended.counts["failed"] == len(errors) == len(reasons) == len(ended.errors)
    assert ended.counts["entered"] == len(lines) and [line["frame"] for line in lines] == list(range(len(lines)))
    for name, (least, reason) in reasons.items():
        good = sum(Path(line["file"]).name == name and "error" not in line for line in lines)
        assert reason in errors[name] and least <= good < 50, (name, good, errors[name])
        if good:
            assert f" {good} of 50 frames" in errors[name], errors[name]
    assert sum(Path(line["file"]).name == "z.mp4" for line in lines) == 20


@FFMPEG
@pytest.mark.parametrize("name", ["sound.mp4", "list.mp4", "pipe.mp4"])
def test_a_video_that_is_none_leaves_nothing_behind(bundle: Path, tmp_path: Path, name: str) -> None:
    reasons = lay_out_bad_videos(tmp_path / "films", tmp_path)
    ended = run(bundle, f"films/{name}", "--out", "out", cwd=tmp_path, timeout=60)
    assert ended.code == 2 and len(ended.errors) == 1 and reasons[name][1] in ended.errors[0]
    assert not (tmp_path / "out").exists()


@FFMPEG
def test_videos_that_are_whole_and_look_strange(bundle: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    h264 = ("-c:v", "libx264", "-g", "5", "-bf", "0")
    large, small = film(tmp_path / "a.ts", *h264), film(tmp_path / "b.ts", *h264, size="96x64", seconds=1)
    (films / "grows.ts").write_bytes(large + small)
    film(films / "varying.mp4", "-vf", "select='lt(n,20)+not(mod(n,3))'", "-vsync", "vfr", *h264)
    whole = film(tmp_path / "w.avi", "-c:v", "mjpeg")
    place = whole.index(b"avih") + 8 + 16  # dwTotalFrames
    few = bytearray(whole)
    few[place : place + 4] = struct.pack("<I", 3)
    (films / "few.avi").write_bytes(few)
    ended = run(bundle, "films", "--out", "out", "--save-jsonl", "--save-video", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    seen: dict[str, list[list[int]]] = {}
    for line in records(tmp_path / "out" / "results.jsonl"):
        seen.setdefault(Path(line["file"]).name, []).append(line["size"])
    # OpenCV brings the frames after the change to the size of those before it.
    assert seen["grows.ts"] == [[120, 160]] * 75
    assert (len(seen["varying.mp4"]), len(seen["few.avi"])) == (20 + 10, 50)


@FFMPEG
def test_a_header_that_promises_too_many_frames(bundle: Path, tmp_path: Path) -> None:
    whole = bytearray(film(tmp_path / "w.avi", "-c:v", "mjpeg"))
    for mark, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames, dwLength
        place = whole.index(mark) + offset
        whole[place : place + 4] = struct.pack("<I", 400)
    (tmp_path / "many.avi").write_bytes(whole)
    ended = run(bundle, "many.avi", "--out", "out", "--save-jsonl", cwd=tmp_path)
    assert (ended.code, ended.counts["inspected"], ended.counts["failed"]) == (1, 50, 1)
    assert len(ended.errors) == 1 and "50 of 400 frames" in ended.errors[0]
