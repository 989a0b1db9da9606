"""``lineside run``: masks on pictures, videos and cameras."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


class Mode(str, Enum):
    """What the model is tuned for."""

    latency = "latency"
    throughput = "throughput"


class MaskChoice(str, Enum):
    """Resolution of the masks."""

    native = "native"
    proto = "proto"
    none = "none"


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip of it.")],
    source: Annotated[
        list[str], typer.Argument(help="Pictures, folders, patterns ('parts/**/*.png'), videos, or a camera's number.")
    ],
    conf: Annotated[float | None, typer.Option(help="Lowest score kept, exclusive [default: the bundle's].")] = None,
    iou: Annotated[float | None, typer.Option(help="Overlap above which the weaker box goes [the bundle's].")] = None,
    max_det: Annotated[int | None, typer.Option(help="Most detections per frame [the bundle's].")] = None,
    masks: Annotated[
        MaskChoice, typer.Option(help="native is picture resolution, proto is coarser.")
    ] = MaskChoice.native,
    agnostic: Annotated[bool, typer.Option("--agnostic", help="Suppress across classes.")] = False,
    engine: Annotated[str, typer.Option(help="Engine that runs the model.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32, or a variant of the bundle, such as int8-cpu.")] = None,
    mode: Annotated[Mode, typer.Option(help="One frame soon, or many frames side by side.")] = Mode.latency,
    threads: Annotated[int | None, typer.Option(help="Threads of one inference [default: chosen].")] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input in pixels, one number or HxW; needs a bundle exported with --dynamic.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Full queue: latest, every, every:N, drop-oldest:N [files: every; cameras: latest].")
    ] = "",
    save_jsonl: Annotated[bool, typer.Option("--save-jsonl", help="results.jsonl: a line per frame.")] = False,
    save_csv: Annotated[bool, typer.Option("--save-csv", help="results.csv: a row per detection.")] = False,
    save_xlsx: Annotated[bool, typer.Option("--save-xlsx", help="results.xlsx: the same for Excel.")] = False,
    save_coco: Annotated[bool, typer.Option("--save-coco", help="coco.json: COCO results with masks.")] = False,
    save_images: Annotated[bool, typer.Option("--save-images", help="images/: pictures with masks.")] = False,
    save_video: Annotated[bool, typer.Option("--save-video", help="overlay.mp4: a video with masks.")] = False,
    no_save: Annotated[bool, typer.Option("--no-save", help="Save nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the results [default: a new one in runs/].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Open a page with the live picture on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> int:
    """Finds the objects in pictures, videos or a camera and saves what was found.

    Example: **lineside run demo/bearing.bundle parts/ --save-xlsx --save-images --out results**

    Without a **--save** option JSON lines, a CSV table and pictures (or a video) with masks go to a new folder in
    runs/. Files are inspected without loss; a camera always gives its newest frame. Ctrl-C ends a run cleanly.

    Exit code: 0 all inspected and saved; 1 some frames were not (unreadable, failed, interrupted), each is named;
    2 nothing could be done: no such source, a broken bundle, a place that cannot be written to.
    """
    from lineside.cli.inspecting import carry_out
    from lineside.cli.sizes import input_size
    from lineside.pipelines.link import Policy
    from lineside.pipelines.session import Job
    from lineside.pipelines.settings import Settings, Thresholds
    from lineside.pipelines.sources.find import find

    saves = {"jsonl": save_jsonl, "csv": save_csv, "xlsx": save_xlsx, "coco": save_coco}
    saves |= {"images": save_images, "video": save_video}
    chosen = [name for name, wanted in saves.items() if wanted]
    job = Job(
        bundle=bundle,
        sources=find(source),
        title=source[0] if len(source) == 1 else "",
        settings=Settings(Thresholds(conf=conf, iou=iou, max_det=max_det, masks=masks.value, agnostic=agnostic)),
        engine=engine,
        precision=precision,
        mode=mode.value,
        threads=threads,
        imgsz=input_size(imgsz),
        policy=Policy.parse(policy) if policy else None,
        limit=limit,
        sinks=() if no_save else chosen or None,
        folder=out,
        view=view,
        port=port,
    )
    return carry_out(job, as_json)
