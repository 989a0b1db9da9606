"""``lineside elements``: what stations are made of, and what each element may be told."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[
        str | None, typer.Argument(help="An element, such as jsonl, or one of your own: own.py:Alarm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> int:
    """Lists the elements of a station, or says what one of them may be told.

    Sources, transforms, models and sinks of **lineside station** and **lineside launch**: without a name all of them,
    with a name its options, their values, defaults and meaning.

    Example: **lineside elements rtsp**

    Exit code: 0; 2 where there is no such element.
    """
    import json
    from dataclasses import asdict

    from lineside.cli.tables import print_table
    from lineside.pipelines.catalog import ELEMENTS
    from lineside.pipelines.reference import described

    if name is None:
        found = [described(it) for it in ELEMENTS]
        if as_json:
            print(json.dumps([asdict(it) for it in found]))
        else:
            print_table("elements", ("element", "role", "what it is"), [(it.name, it.role, it.says) for it in found])
        return 0
    it = described(name)
    if as_json:
        print(json.dumps(asdict(it)))
        return 0
    rows = [
        (o.name, o.kind.replace("`", ""), "required" if o.default is None else o.default, o.says.replace("`", ""))
        for o in it.options
    ]
    print_table(f"{it.name}, a {it.role}: {it.says}", ("option", "value", "default", "what it does"), rows)
    return 0
