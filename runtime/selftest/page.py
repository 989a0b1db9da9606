"""A report as one page of HTML: no script, no file beside it, nothing from a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from lineside.runtime.selftest.charts import CHARTS, chart
from lineside.runtime.selftest.findings import Cell, Line, Report, Table, Verdict
from lineside.runtime.selftest.table import TITLES

__all__ = ["page_of"]

STYLE = """
:root { --ink: #1b2330; --soft: #5b6676; --line: #d9dee6; --back: #f4f6f9; --paper: #fff;
  --good: #0f7b4f; --bad: #b3261e; --open: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf1; --soft: #9aa6b6; --line: #323c4b; --back: #12171f;
  --paper: #1a212c; --good: #4cc38a; --bad: #ff8a80; --open: #f0b440; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px }
h1 { font-size: 25px; margin: 0 0 4px } h2 { font-size: 18px; margin: 34px 0 10px } h3 { font-size: 15px; margin: 18px 0 6px }
p { margin: 4px 0 } .soft { color: var(--soft) }
.sum { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 }
.sum div { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 132px }
.sum b { display: block; font-size: 22px }
.note { border-left: 4px solid var(--open); background: var(--paper); padding: 10px 14px; border-radius: 0 6px 6px 0 }
.wide { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 8px }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: 7px 12px; border-top: 1px solid var(--line); vertical-align: top }
tr:first-child > th, tr:first-child > td { border-top: 0 } th { color: var(--soft); font-weight: 600; white-space: nowrap }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } th.n { text-align: right }
td.what { width: 30%; font-weight: 600 } td.say { width: 142px; white-space: nowrap; font-weight: 600 }
.checked { color: var(--good) } .failed { color: var(--bad) } .open { color: var(--open) }
svg { display: block; width: 100%; height: auto } svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
.keys { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 8px 14px; font-size: 13px }
.keys i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px }
"""

SIGNS: dict[Verdict, tuple[str, str]] = {
    "checked": ("checked", "&#10003; checked"),
    "failed": ("failed", "&#10007; FAILED"),
    "not checked": ("open", "&ndash; not checked"),
}
"""Class and words of a verdict; the sign says it without colour."""


def page_of(report: Report) -> str:
    """The page.

    Args:
        report: The report; texts in it may hold anything.
    """
    title = f"Selftest of {escape(report.bundle)}"
    body = "\n".join(_parts(report))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _parts(report: Report) -> Iterator[str]:
    verdict = "passed" if report.passed else "FAILED"
    colour = "checked" if report.passed else "failed"
    made = escape(f"Lineside {report.lineside}, {report.created}, {report.seconds:.0f} s")
    yield f'<p class="soft">{escape(report.device)} &middot; engine {escape(report.engine)} &middot; {made}</p>'
    yield f'<p class="soft">model sha256 {escape(report.model_sha256)}</p>'
    counts = "".join(f'<div><b class="{SIGNS[name][0]}">{report.count(name)}</b>{name}</div>' for name in SIGNS)
    yield f'<div class="sum"><div><b class="{colour}">{verdict}</b>all in all</div>{counts}</div>'
    if not report.real:
        yield (
            '<p class="note">This is the host device: the processor in the place of a GPU. It shows that the whole path '
            "does what it must; it says nothing about TensorRT, speed or memory of a GPU.</p>"
        )
    wrong = [line for line in report.lines if line.verdict == "failed"]
    if wrong:
        yield f"<h2>What failed</h2>{_lines(wrong)}"
    for name, heading in TITLES.items():
        lines = [line for line in report.lines if line.check == name]
        if lines:
            yield f"<h2>{escape(heading)}</h2>{_lines(lines)}"
        yield from (_table(table) for table in report.tables if table.check == name)
    for unit, heading in CHARTS.items():
        drawn = chart(report.trace, unit)
        if drawn:
            yield f'<h3>{escape(heading)}</h3><div class="wide">{drawn}</div>'
    asked = ", ".join(f"{key} {value}" for key, value in report.options.items())
    yield f"<h2>What was asked for</h2><p>{escape(asked)}</p>"
    yield (
        '<p class="soft">Send this file and the JSON beside it. They name the board, versions of libraries, the model\'s '
        "hash and figures; they hold no picture and no address.</p>"
    )


def _lines(lines: Sequence[Line]) -> str:
    rows = "".join(
        f'<tr><td class="what">{escape(line.name)}</td><td class="say {SIGNS[line.verdict][0]}">'
        f"{SIGNS[line.verdict][1]}</td><td>{escape(_reason(line))}</td></tr>"
        for line in lines
    )
    return f'<div class="wide"><table>{rows}</table></div>'


def _reason(line: Line) -> str:
    """The text of a line; that it was not checked stands beside it already."""
    return line.text.removeprefix("not checked, ") if line.verdict == "not checked" else line.text


def _table(table: Table) -> str:
    numeric = [any(isinstance(row[at], (int, float)) for row in table.rows) for at in range(len(table.columns))]
    head = "".join(
        f"<th{' class=n' if number else ''}>{escape(column)}</th>"
        for column, number in zip(table.columns, numeric, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if number else ''}>{escape(_cell(cell))}</td>"
            for cell, number in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return f'<h3>{escape(table.title)}</h3><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _cell(cell: Cell) -> str:
    """A cell as a person reads it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}" if math.isfinite(cell) and abs(cell) < 1e4 else f"{cell:.0f}"
    return str(cell)
